// BLAKE2b with a key (RFC 7693): checksums of the store, and ids of its examples.
//
// Own code because no crypto library of phones has it with a key and 8 bytes of digest, and a store
// without a key should need no crypto library at all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsa::learn {

// digest: `size` bytes, 1 ... 64. key: 0 ... 64 bytes.
void blake2b(const void* data, size_t count, const void* key, size_t key_size, uint8_t* digest,
             size_t size);

}  // namespace dsa::learn
