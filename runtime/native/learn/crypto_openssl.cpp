// By OpenSSL 3's libcrypto (docs/decisions.md says why).
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "crypto.h"
#include "errors.h"

namespace dsa::learn {
namespace {

void must(bool done) {
  if (!done)
    throw Error(Kind::store, "the crypto library failed: free some memory, and try again.");
}

template <class T, void (*kFree)(T*)>
struct Freed {
  void operator()(T* what) const { kFree(what); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, Freed<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>>;
using Derivation = std::unique_ptr<EVP_KDF_CTX, Freed<EVP_KDF_CTX, EVP_KDF_CTX_free>>;

class Gcm : public Cipher {
 public:
  explicit Gcm(const Key& key) : encrypt_(EVP_CIPHER_CTX_new()), decrypt_(EVP_CIPHER_CTX_new()) {
    const EVP_CIPHER* kind = EVP_aes_256_gcm();
    must(encrypt_ && EVP_EncryptInit_ex(encrypt_.get(), kind, nullptr, key.data(), nullptr) == 1);
    must(decrypt_ && EVP_DecryptInit_ex(decrypt_.get(), kind, nullptr, key.data(), nullptr) == 1);
  }

  void seal(const uint8_t* data, size_t size, std::string_view place, Bytes& out) override {
    uint8_t nonce[kNonceBytes];
    must(RAND_bytes(nonce, kNonceBytes) == 1);
    const size_t first = out.size() + kNonceBytes;
    out.insert(out.end(), nonce, nonce + kNonceBytes);
    out.resize(first + size + kTagBytes);
    EVP_CIPHER_CTX* context = encrypt_.get();
    int count = 0;
    must(EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, nonce) == 1);
    must(EVP_EncryptUpdate(context, nullptr, &count, bytes(place), length(place.size())) == 1);
    must(EVP_EncryptUpdate(context, &out[first], &count, data, length(size)) == 1);
    must(EVP_EncryptFinal_ex(context, &out[first + size], &count) == 1);
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, kTagBytes, &out[first + size]) == 1);
  }

  bool open(const uint8_t* data, size_t size, std::string_view place, Bytes& out) override {
    if (size < kNonceBytes + kTagBytes) return false;
    const size_t first = out.size(), inner = size - kNonceBytes - kTagBytes;
    out.resize(first + inner + 1);  // one more: an empty text has an address as well
    EVP_CIPHER_CTX* context = decrypt_.get();
    uint8_t* tag = const_cast<uint8_t*>(data + size - kTagBytes);
    int count = 0;
    must(EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, data) == 1);
    must(EVP_DecryptUpdate(context, nullptr, &count, bytes(place), length(place.size())) == 1);
    must(EVP_DecryptUpdate(context, &out[first], &count, data + kNonceBytes, length(inner)) == 1);
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, kTagBytes, tag) == 1);
    const bool whole = EVP_DecryptFinal_ex(context, &out[first + inner], &count) == 1;
    out.resize(whole ? first + inner : first);
    return whole;
  }

 private:
  static const uint8_t* bytes(std::string_view text) {
    return reinterpret_cast<const uint8_t*>(text.data());
  }
  static int length(size_t size) {
    must(size < size_t{1} << 30);
    return static_cast<int>(size);
  }

  Context encrypt_, decrypt_;
};

Key derive(const char* name, const OSSL_PARAM* given) {
  EVP_KDF* kind = EVP_KDF_fetch(nullptr, name, nullptr);
  must(kind != nullptr);
  const Derivation context(EVP_KDF_CTX_new(kind));
  EVP_KDF_free(kind);
  Key key;
  must(context && EVP_KDF_derive(context.get(), key.data(), key.size(), given) == 1);
  return key;
}

OSSL_PARAM octets(const char* name, const void* data, size_t size) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<void*>(data), size);
}

}  // namespace

std::unique_ptr<Cipher> Cipher::make(const Key& key) { return std::make_unique<Gcm>(key); }

Key derived(const Bytes& secret, const Bytes& salt, std::string_view info) {
  char digest[] = "SHA256";
  const OSSL_PARAM given[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                              octets(OSSL_KDF_PARAM_KEY, secret.data(), secret.size()),
                              octets(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
                              octets(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
                              OSSL_PARAM_construct_end()};
  return derive("HKDF", given);
}

Key stretched(std::string_view passphrase, const Bytes& salt) {
  uint64_t n = 1 << 15, r = 8, p = 1, most = 64 << 20;
  const OSSL_PARAM given[] = {octets(OSSL_KDF_PARAM_PASSWORD, passphrase.data(), passphrase.size()),
                              octets(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
                              OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
                              OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_R, &r),
                              OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_P, &p),
                              OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &most),
                              OSSL_PARAM_construct_end()};
  return derive("SCRYPT", given);
}

}  // namespace dsa::learn
