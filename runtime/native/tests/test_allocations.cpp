// Steps after the first allocate nothing: counts every malloc of the process, ExecuTorch's
// included. SQLite's are left out: it takes and gives back a few pages for each transaction.
//   test_allocations BUNDLE EXAMPLES [HYPER-PARAMETERS]
#include <sqlite3.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "api/user.h"

extern "C" void* __libc_malloc(size_t size);
extern "C" void* __libc_calloc(size_t count, size_t size);
extern "C" void* __libc_realloc(void* old, size_t size);
extern "C" void* __libc_memalign(size_t alignment, size_t size);

namespace {

constexpr size_t kSteps = 8;

std::atomic<long> allocations{0};
thread_local bool of_sqlite = false;
sqlite3_mem_methods usual;

void note() { allocations += !of_sqlite; }

void* sqlite_malloc(int size) {
  of_sqlite = true;
  void* made = usual.xMalloc(size);
  of_sqlite = false;
  return made;
}

void* sqlite_realloc(void* old, int size) {
  of_sqlite = true;
  void* made = usual.xRealloc(old, size);
  of_sqlite = false;
  return made;
}

void leave_out_sqlite() {
  sqlite3_config(SQLITE_CONFIG_GETMALLOC, &usual);
  sqlite3_mem_methods counted = usual;
  counted.xMalloc = sqlite_malloc, counted.xRealloc = sqlite_realloc;
  sqlite3_config(SQLITE_CONFIG_MALLOC, &counted);
}

}  // namespace

extern "C" {

void* malloc(size_t size) {
  note();
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  note();
  return __libc_calloc(count, size);
}
void* realloc(void* old, size_t size) {
  note();
  return __libc_realloc(old, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  note();
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : 12;
}
void* aligned_alloc(size_t alignment, size_t size) {
  note();
  return __libc_memalign(alignment, size);
}

}  // extern "C"

int main(int given, char** words) {
  if (given < 3) return 2;
  leave_out_sqlite();
  dsa::User user(words[1], {"", 1, false, 0, nullptr});
  const auto examples =
      dsa::read_examples({"", words[2], "", {}}, user.tokenizer(), user.chat());
  std::vector<long> at(kSteps + 1);
  dsa::FitOptions options;
  if (given > 3) options.wish.changes = words[3];
  options.wish.steps = kSteps;
  options.wish.on_step = [&](const dsa::learn::Progress& progress) {
    at[static_cast<size_t>(progress.step)] = allocations;
    return true;
  };
  user.fit(examples, options);
  user.trial(examples, options, 2);
  const long start = allocations;
  user.trial(examples, options, 2);
  const long two = allocations - start;
  user.trial(examples, options, 12);
  const long more = allocations - start - two - two;  // what ten more probes take
  std::printf("{\"probes\": %ld, \"steps\": [", more);
  for (size_t step = 2; step <= kSteps; ++step)
    std::printf("%s%ld", step > 2 ? ", " : "", at[step] - at[step - 1]);
  std::printf("]}\n");
  return 0;
}
