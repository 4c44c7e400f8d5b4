#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <utility>

#include "core/errors.h"
#include "core/file.h"
#include "engine/prompt_cache.h"

namespace dsa {

namespace {

[[noreturn]] void no_room(size_t bytes, const std::string& where) {
  throw Error(Kind::budget,
              text("the prompt cache needs ", std::ceil(static_cast<double>(bytes) / kMb), " MB ",
                   where, " and cannot have it (", system_error(),
                   "): free some space, raise memory_mb, or give fewer examples."));
}

// A file whose blocks are reserved: writing to it can no longer fail.
int reserved_file(size_t bytes, const std::string& folder) {
  std::string name = (folder.empty() ? std::string("/tmp") : folder) + "/.prompts-XXXXXX";
  const int file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) no_room(bytes, "of disk in " + folder);
  unlink(name.c_str());
  if ((errno = posix_fallocate(file, 0, static_cast<off_t>(bytes))) == 0) return file;
  const int why = errno;
  close(file);
  errno = why;
  no_room(bytes, "of disk");
}

}  // namespace

Storage::Storage(size_t bytes, const std::string* folder) : bytes_(bytes), file_(folder) {
  if (!bytes) return;
  const int file = folder ? reserved_file(bytes, *folder) : -1;
  void* found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     folder ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, file, 0);
  if (file >= 0) close(file);
  if (found == MAP_FAILED) no_room(bytes, "of memory");
  data_ = static_cast<uint8_t*>(found);
}

Storage::Storage(Storage&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_), file_(other.file_) {}

Storage& Storage::operator=(Storage&& other) noexcept {
  std::swap(data_, other.data_), std::swap(bytes_, other.bytes_), std::swap(file_, other.file_);
  return *this;
}

Storage::~Storage() {
  if (data_) munmap(data_, bytes_);
}

void Storage::drop_pages() const {
  if (file_ && data_) madvise(data_, bytes_, MADV_DONTNEED);
}

}  // namespace dsa
