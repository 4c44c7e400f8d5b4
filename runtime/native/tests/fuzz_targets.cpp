// Readers of what strangers write: whatever comes, they answer or raise an Error, and nothing else.
//
// With Clang a libFuzzer target each; otherwise tests/mutate.cpp calls them. DSA_TARGET says which.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "core/adapter_file.h"
#include "core/canonical.h"
#include "core/errors.h"
#include "core/examples.h"
#include "core/json.h"
#include "core/tokenizer.h"
#include "learn/blake2b.h"

namespace {

enum Target { manifest, adapter, tokenizer, jsonl };

// The manifest with a checksum that fits, so that its fields are read.
std::string settled(const std::string& content) {
  dsa::Json of = dsa::Json::parse(content, nullptr, false);
  if (!of.is_object()) return content;
  of["checksum"] = "";
  const std::string told = dsa::canonical(dsa::written(of), "checksum");
  uint8_t digest[16];
  dsa::learn::blake2b(told.data(), told.size(), nullptr, 0, digest, sizeof digest);
  std::string hex;
  for (const uint8_t byte : digest)
    hex += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  of["checksum"] = hex;
  return dsa::written(of);
}

dsa::Manifest small_manifest() {
  dsa::Manifest made;
  made.identity = std::string(64, 'a');
  made.decoder.width = 4;
  made.adapter.blocks = 1;
  return made;
}

dsa::Manifest chatting_manifest() {
  dsa::Manifest made = small_manifest();
  made.chat = dsa::ChatParts{{{"", "user", "Q: ", true, true, false},
                              {"user", "assistant", "\nA: ", false, true, true},
                              {"assistant", "user", "\nQ: ", true, false, true}},
                             {{"user", "\nA: "}},
                             {"</think>"}};
  return made;
}

void read_adapter(const std::string& content) {
  static const dsa::Manifest belongs = small_manifest();
  const int file = memfd_create("adapter", MFD_CLOEXEC);
  if (file < 0 || write(file, content.data(), content.size()) < 0) std::abort();
  try {
    dsa::load_adapter(dsa::learn::text("/proc/self/fd/", file), belongs);
  } catch (...) {
    close(file);
    throw;
  }
  close(file);
}

void read_tokenizer(const std::string& content) {
  const size_t end = content.find('\0');  // a text to encode follows
  const dsa::Tokenizer made(content.substr(0, end), {std::nullopt, {}, 0, false});
  const std::string text =
      end == std::string::npos ? "It was 12 o'clock.\n" : content.substr(end + 1);
  made.decode(made.encode_prompt(text));
  made.plain(text);
}

const char kTokenizer[] =
    R"({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "decoder": {"type": "ByteLevel"}, "added_tokens": [],
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";

void read_jsonl(const std::string& content) {
  static const dsa::Tokenizer own(kTokenizer, {std::nullopt, {}, 0, false});
  static const dsa::Manifest belongs = chatting_manifest();
  const dsa::Chat chat(belongs, own);
  dsa::read_examples({content, "", "", {}}, own, chat);
  dsa::read_examples({content, "", "{text} It was", {"bad", "good"}}, own, chat);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string content(reinterpret_cast<const char*>(data), size);
  try {
    if (DSA_TARGET == manifest) dsa::Manifest::read(settled(content), "manifest.json");
    if (DSA_TARGET == adapter) read_adapter(content);
    if (DSA_TARGET == tokenizer) read_tokenizer(content);
    if (DSA_TARGET == jsonl) read_jsonl(content);
  } catch (const dsa::Error&) {
  } catch (const dsa::Broken&) {  // of `settled`, which is no reader
  }
  return 0;
}
