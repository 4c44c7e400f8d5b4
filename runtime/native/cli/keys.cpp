#include "cli/keys.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

namespace dsa_cli {

using dsa::learn::FileKey;
using dsa::learn::KeyProvider;
using dsa::learn::PassphraseKey;

std::unique_ptr<KeyProvider> key_named(const std::string& text, const char* variable) {
  if (text.empty()) return nullptr;
  if (text.rfind("file:", 0) == 0 && text.size() > 5)
    return std::make_unique<FileKey>(text.substr(5));
  if (text != "passphrase")
    throw WrongUse(std::string("a key is one of passphrase or file:PATH, and something else was "
                               "given (not shown here): the passphrase itself goes into ") +
                   variable + ".");
  const char* passphrase = std::getenv(variable);
  if (!passphrase || !*passphrase)
    throw WrongUse(std::string("there is no passphrase in ") + variable + ": put it there.");
  return std::make_unique<PassphraseKey>(passphrase);
}

int32_t provided(void* context, const char* store, const uint8_t* salt, int32_t fresh,
                 uint8_t* key) {
  try {
    const auto made = static_cast<KeyProvider*>(context)->key(
        store, dsa::learn::Bytes(salt, salt + 16), fresh != 0);
    std::copy(made.begin(), made.end(), key);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dsa_runner: %s\n", error.what());
    return 1;
  }
}

}  // namespace dsa_cli
