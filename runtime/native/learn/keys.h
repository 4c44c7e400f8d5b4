// Where the key of a sealed store comes from.
#pragma once

#include <functional>

#include "crypto.h"

namespace dsa::learn {

// Gives a store its key; apps supply their own, as Android's Keystore.
class KeyProvider {
 public:
  virtual ~KeyProvider() = default;
  virtual std::string name() const = 0;  // what a message calls it

  // The key of the store of that id, the same each time; salt: 16 random bytes of its.
  virtual Key key(const std::string& store, const Bytes& salt) = 0;

  // Whether the secret of a store is there already; one that makes none always has it.
  virtual bool keeps(const std::string&) const { return true; }
};

// A random secret in a file that only its owner may read (0600), made when it is missing.
class FileKey : public KeyProvider {
 public:
  explicit FileKey(std::string path) : path_(std::move(path)) {}
  std::string name() const override { return "the key file " + path_; }
  Key key(const std::string& store, const Bytes& salt) override;
  bool keeps(const std::string& store) const override;

 private:
  const std::string path_;
};

// A key derived from a passphrase by scrypt.
class PassphraseKey : public KeyProvider {
 public:
  explicit PassphraseKey(std::string passphrase);
  std::string name() const override { return "the passphrase"; }
  Key key(const std::string& store, const Bytes& salt) override;

 private:
  const std::string passphrase_;
};

// A key that the caller makes or fetches. secret: false takes what it returns as the key itself, as
// from hardware; true derives the key from it, as the keyring's secrets in Python.
class CallbackKey : public KeyProvider {
 public:
  using Fetch = std::function<Key(const std::string& store, const Bytes& salt)>;
  CallbackKey(std::string name, Fetch fetch, bool secret = false)
      : name_(std::move(name)), fetch_(std::move(fetch)), secret_(secret) {}
  std::string name() const override { return name_; }
  Key key(const std::string& store, const Bytes& salt) override;

 private:
  const std::string name_;
  const Fetch fetch_;
  const bool secret_;
};

}  // namespace dsa::learn
