// Where the key of a sealed store comes from, as the command line of Python has it.
#pragma once

#include <memory>

#include "cli/options.h"
#include "learn/keys.h"

namespace dsa_cli {

// `passphrase` or `file:PATH`; null for "". variable: of the environment, which has the passphrase:
// a command line is read by other users. Raises WrongUse, whose message never repeats the text.
std::unique_ptr<dsa::learn::KeyProvider> key_named(const std::string& text, const char* variable);

// A dsa_key_callback; context: a KeyProvider.
int32_t provided(void* context, const char* store, const uint8_t* salt, int32_t fresh,
                 uint8_t* key);

}  // namespace dsa_cli
