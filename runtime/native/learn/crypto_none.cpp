// For builds without a crypto library.
#include "crypto.h"
#include "errors.h"

namespace dsa::learn {
namespace {

[[noreturn]] void refuse() {
  throw Error(Kind::usage,
              "this build has no crypto library, so it cannot use sealed stores: build "
              "it with DSA_SEAL=ON, or use a store without a key.");
}

}  // namespace

std::unique_ptr<Cipher> Cipher::make(const Key&) { refuse(); }
Key derived(const Bytes&, const Bytes&, std::string_view) { refuse(); }
Key stretched(std::string_view, const Bytes&) { refuse(); }

}  // namespace dsa::learn
