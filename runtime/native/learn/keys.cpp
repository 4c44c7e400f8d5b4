#include "keys.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "errors.h"

namespace dsa::learn {
namespace {

[[noreturn]] void unusable(const std::string& path) {
  throw Error(Kind::usage, text("the key file ", path, " cannot be used (", std::strerror(errno),
                                "): check its folder and permissions."));
}

struct File {
  int handle;
  File(const std::string& path, int flags) : handle(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {
    if (handle < 0) unusable(path);
  }
  ~File() { ::close(handle); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
};

void make(const std::string& path) {
  const Bytes secret = random_bytes(kKeyBytes);
  const File file(path, O_CREAT | O_EXCL | O_WRONLY);
  const bool whole = ::write(file.handle, secret.data(), kKeyBytes) == ssize_t{kKeyBytes};
  if (!whole || ::fsync(file.handle) != 0) unusable(path);
}

// What the file holds, with one byte more than a key may have.
Bytes content(const std::string& path) {
  const File file(path, O_RDONLY);
  struct stat found;
  if (::fstat(file.handle, &found) != 0) unusable(path);
  if (found.st_mode & 077)
    throw Error(Kind::usage, text(path, " can be read by others: `chmod 600 ", path,
                                  "` first, or make a new key."));
  Bytes bytes(kKeyBytes + 1);
  const ssize_t got = ::read(file.handle, bytes.data(), bytes.size());
  if (got < 0) unusable(path);
  bytes.resize(static_cast<size_t>(got));
  if (bytes.size() != kKeyBytes)
    throw Error(Kind::wrong_key, text(path, " holds ", found.st_size, " bytes, expected ",
                                      kKeyBytes, ": it is no key of ours, give the right file."));
  return bytes;
}

[[noreturn]] void missing(const KeyProvider& key) {
  throw Error(Kind::wrong_key, text(key.name(),
                                    " does not have the key of this store: give the key "
                                    "that it was sealed with; nothing was changed."));
}

Key of_store(const Bytes& secret, const std::string& store, const Bytes& salt) {
  return derived(secret, salt, "dsa-edge store " + store);
}

}  // namespace

Key FileKey::key(const std::string& store, const Bytes& salt, bool fresh) {
  const bool there = ::access(path_.c_str(), F_OK) == 0;
  if (!there && !fresh) missing(*this);
  if (!there) make(path_);
  return of_store(content(path_), store, salt);
}

PassphraseKey::PassphraseKey(std::string passphrase) : passphrase_(std::move(passphrase)) {
  if (passphrase_.empty()) throw Error(Kind::usage, "the passphrase is empty: give one.");
}

Key PassphraseKey::key(const std::string&, const Bytes& salt, bool) {
  return stretched(passphrase_, salt);
}

Key CallbackKey::key(const std::string& store, const Bytes& salt, bool fresh) {
  const std::optional<Key> given = fetch_(store, salt, fresh);
  if (!given) missing(*this);
  return secret_ ? of_store(Bytes(given->begin(), given->end()), store, salt) : *given;
}

}  // namespace dsa::learn
