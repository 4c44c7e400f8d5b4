// Files: read whole, mapped, or written so that they appear whole or not at all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dsa {

// The path of a name in a folder.
std::string join(const std::string& folder, const std::string& name);

bool is_file(const std::string& path);
bool is_folder(const std::string& path);

// Bytes of a file, -1 where there is none that can be looked at.
int64_t file_size(const std::string& path);

// What the system said last, such as "Permission denied".
std::string system_error();

// A whole file; what: names it. Raises Error(kind) where it cannot be read or is larger than
// `most`.
enum class Reads { bundle, adapter, examples };
std::string read_file(const std::string& path, int64_t most, Reads what);

// Writes beside and renames, durably. Raises Error(store).
void write_file(const std::string& path, std::string_view content);

// Some bytes of a file, one read each: pages of a map that are used once stay until memory is short.
class Spots {
 public:
  Spots(const std::string& path, Reads what);  // raises as read_file
  Spots(Spots&& other) noexcept;
  ~Spots();
  void read(int64_t offset, void* to, size_t bytes) const;  // raises as read_file

 private:
  std::string path_;
  Reads what_;
  int file_;
};

// A file as memory, read only; nothing of it is read before it is used.
class Mapped {
 public:
  Mapped() = default;
  Mapped(const std::string& path, Reads what);  // raises as read_file
  Mapped(Mapped&& other) noexcept;
  Mapped& operator=(Mapped&& other) noexcept;
  ~Mapped();

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace dsa
