// Where the key of a sealed store comes from.
#pragma once

#include <functional>
#include <optional>

#include "crypto.h"

namespace dsa::learn {

// Gives a store its key; apps supply their own, as Android's Keystore.
class KeyProvider {
 public:
  virtual ~KeyProvider() = default;
  virtual std::string name() const = 0;  // what a message calls it

  // The key of the store of that id, the same each time; salt: 16 random bytes of its. fresh:
  // nothing is sealed with it yet, so that a secret may be made; otherwise a missing one is
  // Error(wrong_key).
  virtual Key key(const std::string& store, const Bytes& salt, bool fresh) = 0;
};

// A random secret in a file that only its owner may read (0600), made when it is missing.
class FileKey : public KeyProvider {
 public:
  explicit FileKey(std::string path) : path_(std::move(path)) {}
  std::string name() const override { return "the key file " + path_; }
  Key key(const std::string& store, const Bytes& salt, bool fresh) override;

 private:
  const std::string path_;
};

// A key derived from a passphrase by scrypt.
class PassphraseKey : public KeyProvider {
 public:
  explicit PassphraseKey(std::string passphrase);
  std::string name() const override { return "the passphrase"; }
  Key key(const std::string& store, const Bytes& salt, bool fresh) override;

 private:
  const std::string passphrase_;
};

// A key that the caller makes or fetches; nothing where there is none. secret: false takes what it
// returns as the key itself, as from hardware; true derives the key from it, as Python does from
// the secret in a keyring.
class CallbackKey : public KeyProvider {
 public:
  using Fetch =
      std::function<std::optional<Key>(const std::string& store, const Bytes& salt, bool fresh)>;
  CallbackKey(std::string name, Fetch fetch, bool secret = false)
      : name_(std::move(name)), fetch_(std::move(fetch)), secret_(secret) {}
  std::string name() const override { return name_; }
  Key key(const std::string& store, const Bytes& salt, bool fresh) override;

 private:
  const std::string name_;
  const Fetch fetch_;
  const bool secret_;
};

}  // namespace dsa::learn
