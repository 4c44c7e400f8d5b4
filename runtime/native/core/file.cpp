#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/errors.h"

namespace dsa {

namespace {

class Descriptor {
 public:
  explicit Descriptor(int number) : number(number) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int number;
};

[[noreturn]] void refuse(const std::string& path, const std::string& why, Reads what) {
  const Kind kinds[] = {Kind::bundle, Kind::adapter, Kind::example};
  const char* next[] = {"check its permissions, or copy the bundle again.",
                        "give a file that can be read.", "give a file that can be read."};
  const auto at = static_cast<size_t>(what);
  throw Error(kinds[at], text(path, " cannot be read (", why, "): ", next[at]));
}

int64_t size_of(int file) {
  struct stat found{};
  return fstat(file, &found) == 0 && S_ISREG(found.st_mode) ? found.st_size : -1;
}

bool write_all(int file, std::string_view content) {
  while (!content.empty()) {
    const ssize_t done = write(file, content.data(), content.size());
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    content.remove_prefix(static_cast<size_t>(done));
  }
  return fsync(file) == 0;
}

}  // namespace

std::string join(const std::string& folder, const std::string& name) { return folder + "/" + name; }

bool is_file(const std::string& path) {
  struct stat found{};
  return stat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode);
}

bool is_folder(const std::string& path) {
  struct stat found{};
  return stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

int64_t file_size(const std::string& path) {
  struct stat found{};
  return stat(path.c_str(), &found) == 0 ? static_cast<int64_t>(found.st_size) : -1;
}

std::string system_error() { return std::strerror(errno); }

std::string read_file(const std::string& path, int64_t most, Reads what) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number < 0) refuse(path, system_error(), what);
  const int64_t size = size_of(file.number);
  if (size < 0) refuse(path, "it is no file", what);
  if (size > most) refuse(path, text("it is larger than ", most, " bytes"), what);
  std::string content(static_cast<size_t>(size), '\0');
  size_t at = 0;
  while (at < content.size()) {
    const ssize_t done = read(file.number, content.data() + at, content.size() - at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) refuse(path, done ? system_error() : "it became shorter", what);
    at += static_cast<size_t>(done);
  }
  return content;
}

void write_file(const std::string& path, std::string_view content) {
  const std::string partial = text(path, ".", getpid(), ".partial");
  bool done = false;
  {
    const Descriptor file(open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    done = file.number >= 0 && write_all(file.number, content);
  }
  if (done && std::rename(partial.c_str(), path.c_str()) == 0) return;
  const std::string why = system_error();
  unlink(partial.c_str());
  throw Error(Kind::store, text(path, " cannot be written (", why,
                                "): check its folder, permissions and free space."));
}

Spots::Spots(const std::string& path, Reads what)
    : path_(path), what_(what), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (file_ < 0) refuse(path, system_error(), what);
}

Spots::Spots(Spots&& other) noexcept
    : path_(std::move(other.path_)), what_(other.what_), file_(std::exchange(other.file_, -1)) {}

Spots::~Spots() {
  if (file_ >= 0) close(file_);
}

void Spots::read(int64_t offset, void* to, size_t bytes) const {
  for (size_t at = 0; at < bytes;) {
    const ssize_t done = pread(file_, static_cast<char*>(to) + at, bytes - at,
                               static_cast<off_t>(offset) + static_cast<off_t>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) refuse(path_, done ? system_error() : "it became shorter", what_);
    at += static_cast<size_t>(done);
  }
}

Mapped::Mapped(const std::string& path, Reads what) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number < 0) refuse(path, system_error(), what);
  const int64_t size = size_of(file.number);
  if (size < 0) refuse(path, "it is no file", what);
  if (size == 0) return;
  void* found = mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, file.number, 0);
  if (found == MAP_FAILED) refuse(path, system_error(), what);
  data_ = static_cast<uint8_t*>(found), size_ = static_cast<size_t>(size);
}

Mapped::Mapped(Mapped&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapped& Mapped::operator=(Mapped&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Mapped::~Mapped() {
  if (data_) munmap(data_, size_);
}

}  // namespace dsa
