// A user's store after somebody changed bytes of its file: each call answers or raises an Error.
//
// The input are changes, three bytes each: which page, where in it, and what to flip.
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "core/errors.h"
#include "learn/store.h"

namespace {

using dsa::learn::Adapter;
using dsa::learn::Run;
using dsa::learn::Store;

const std::string kIdentity(64, 'a');

struct Folder {
  Folder() {
    if (!mkdtemp(path)) std::abort();
  }
  ~Folder() {
    for (const char* left : {"user.db", "user.db-wal", "user.db-shm", "lock"})
      unlink((std::string(path) + "/" + left).c_str());
    rmdir(path);
  }
  std::string file() const { return std::string(path) + "/user.db"; }
  char path[32] = "/tmp/dsa-fuzz-XXXXXX";
};

Adapter small_adapter() {
  Adapter made;
  made.numbers.assign(4, 1.0f);
  made.labels = {{" a", 1.0}};
  return made;
}

// The file of a small store.
std::string image() {
  const Folder folder;
  {
    Store made(folder.path, kIdentity);
    Run begun;
    begun.parent = 0, begun.seed = 1, begun.examples = {made.example_id("one")};
    const int64_t run = made.start_run(begun);
    const float slopes[2] = {1, 1};
    made.append(run, 0.5f, slopes, 2);
    made.remember({{made.example_id("one"), "[\"one\", \" a\", [], false]"}});
    const dsa::learn::Made kept{small_adapter(), 1, "{}"};
    made.end_run(run, "improved", &kept);
  }
  std::ifstream file(folder.file(), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void attempt(const std::function<void()>& call) {
  try {
    call();
  } catch (const dsa::Error&) {
  }
}

void use(Store& store) {
  attempt([&] { store.newest_whole(); });
  attempt([&] { store.versions(); });
  attempt([&] { store.remembered(); });
  attempt([&] {
    for (const Run& run : store.runs()) attempt([&] { store.journal(run); });
  });
  attempt([&] { store.start_run({}); });
  attempt([&] { store.add_version(0, small_adapter(), "loaded", 0, "{}"); });
  attempt([&] { store.rekey(nullptr); });
  attempt([&] { store.forget_examples({store.example_id("one")}); });
  attempt([&] { store.forget(); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string whole = image();
  std::string changed = whole;
  for (size_t at = 0; at + 3 <= size; at += 3)
    changed[(data[at] * 1024u + data[at + 1] * 4u + data[at + 2] % 4u) % changed.size()] ^=
        static_cast<char>(data[at + 2]);
  const Folder folder;
  std::ofstream(folder.file(), std::ios::binary) << changed;
  attempt([&] {
    Store store(folder.path, kIdentity);
    use(store);
  });
  return 0;
}
