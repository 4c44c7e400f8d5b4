#include "vault.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "blake2b.h"
#include "errors.h"

namespace dsa::learn {
namespace {

constexpr size_t kCheck = 8, kMost = size_t{1} << 30;  // most: bytes that a blob may unpack to

void checksum(const uint8_t* payload, size_t size, std::string_view place, uint8_t* out) {
  blake2b(payload, size, place.data(), std::min<size_t>(place.size(), 64), out, kCheck);
}

struct Inflater : z_stream {
  Inflater() : z_stream() {
    if (inflateInit(this) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(this); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

std::string inflated(const uint8_t* data, size_t size, std::string_view place) {
  Inflater stream;
  stream.next_in = const_cast<uint8_t*>(data);
  stream.avail_in = static_cast<uInt>(size);
  std::string out;
  int state = Z_OK;
  while (state == Z_OK && out.size() < kMost) {
    const size_t made = out.size();
    out.resize(std::max<size_t>(256, 2 * made));
    stream.next_out = reinterpret_cast<Bytef*>(&out[made]);
    stream.avail_out = static_cast<uInt>(out.size() - made);
    state = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  if (state != Z_STREAM_END) throw Broken(text(place, " is no whole zlib stream"));
  return out;
}

}  // namespace

Vault::Vault(const std::optional<Key>& key)
    : cipher_(key ? Cipher::make(*key) : nullptr), packer_(std::make_unique<z_stream>()) {
  if (deflateInit(packer_.get(), 1) != Z_OK) throw std::bad_alloc();
}

Vault::~Vault() {
  if (packer_) deflateEnd(packer_.get());
}

Vault::Vault(Vault&&) noexcept = default;

Vault& Vault::operator=(Vault&& other) noexcept {
  std::swap(cipher_, other.cipher_);
  std::swap(packer_, other.packer_);
  return *this;
}

void Vault::compress(const uint8_t* data, size_t size) {
  deflateReset(packer_.get());
  packed_.resize(deflateBound(packer_.get(), static_cast<uLong>(size)));
  packer_->next_in = const_cast<uint8_t*>(data);
  packer_->avail_in = static_cast<uInt>(size);
  packer_->next_out = packed_.data();
  packer_->avail_out = static_cast<uInt>(packed_.size());
  if (deflate(packer_.get(), Z_FINISH) != Z_STREAM_END) throw std::bad_alloc();
  packed_.resize(packed_.size() - packer_->avail_out);
}

const Bytes& Vault::pack(const void* data, size_t size, std::string_view place) {
  compress(static_cast<const uint8_t*>(data), size);
  blob_.resize(kCheck);
  if (cipher_) {
    cipher_->seal(packed_.data(), packed_.size(), place, blob_);
  } else {
    blob_.insert(blob_.end(), packed_.begin(), packed_.end());
  }
  checksum(blob_.data() + kCheck, blob_.size() - kCheck, place, blob_.data());
  return blob_;
}

const Bytes& Vault::pack(std::string_view text, std::string_view place) {
  return pack(text.data(), text.size(), place);
}

const Bytes& Vault::pack_floats(const float* numbers, size_t count, std::string_view place) {
  planes_.resize(4 * count);
  for (size_t i = 0; i < count; ++i) {
    uint32_t raw;
    std::memcpy(&raw, numbers + i, sizeof raw);
    for (size_t plane = 0; plane < 4; ++plane)
      planes_[plane * count + i] = static_cast<uint8_t>(raw >> 8 * plane);
  }
  return pack(planes_.data(), planes_.size(), place);
}

std::string Vault::unpack(const Bytes& blob, std::string_view place) {
  uint8_t own[kCheck];
  if (blob.size() >= kCheck) checksum(blob.data() + kCheck, blob.size() - kCheck, place, own);
  if (blob.size() < kCheck || !std::equal(own, own + kCheck, blob.begin()))
    throw Broken(text(place, " does not match its checksum"));
  const uint8_t* payload = blob.data() + kCheck;
  if (!cipher_) return inflated(payload, blob.size() - kCheck, place);
  Bytes opened;
  if (!cipher_->open(payload, blob.size() - kCheck, place, opened))
    throw Error(Kind::tampered, text(place,
                                     " was changed by something that does not have the "
                                     "store's key: restore the store from a backup, or forget what "
                                     "it learned."));
  return inflated(opened.data(), opened.size(), place);
}

std::vector<float> Vault::unpack_floats(const Bytes& blob, std::string_view place) {
  const std::string planes = unpack(blob, place);
  if (planes.size() % 4) throw Broken(text(place, " has ", planes.size(), " bytes of float32"));
  const size_t count = planes.size() / 4;
  std::vector<float> numbers(count);
  for (size_t i = 0; i < count; ++i) {
    uint32_t raw = 0;
    for (size_t plane = 4; plane-- > 0;)
      raw = raw << 8 | static_cast<uint8_t>(planes[plane * count + i]);
    std::memcpy(&numbers[i], &raw, sizeof raw);
  }
  return numbers;
}

}  // namespace dsa::learn
