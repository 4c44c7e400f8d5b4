// What tests/native cannot see from outside: allocations, checksums, sums, and what is refused.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>

#include "check.h"
#include "known_engine.h"
#include "learn/batches.h"
#include "learn/blake2b.h"
#include "learn/learner.h"
#include "learn/mechanism.h"
#include "learn/sums.h"

namespace {

std::atomic<long> allocations{0};

void* counted(size_t size) {
  ++allocations;
  if (void* made = std::malloc(size ? size : 1)) return made;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t size) { return counted(size); }
void* operator new[](size_t size) { return counted(size); }
void operator delete(void* what) noexcept { std::free(what); }
void operator delete[](void* what) noexcept { std::free(what); }
void operator delete(void* what, size_t) noexcept { std::free(what); }
void operator delete[](void* what, size_t) noexcept { std::free(what); }

namespace dsa::learn {
namespace {

// RFC 7693, appendix A; and Python's hashlib for the rest.
void check_blake2b() {
  const auto digest = [](const std::string& data, const std::string& key, size_t size) {
    Bytes out(size);
    blake2b(data.data(), data.size(), key.data(), key.size(), out.data(), size);
    return hex(out);
  };
  check(digest("abc", "", 64) ==
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
            "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
        "blake2b of abc");
  check(digest("", "", 8) == "e4a6a0577479b2b4", "blake2b of nothing");
  check(digest("", "meta/active", 8) == "3dafcbeb51fa483e", "blake2b of nothing with a key");
  check(digest(std::string(128, 'x'), "runs/1/record", 8) == "5f0ce9f82ba7b77e", "of a block");
  check(digest(std::string(300, 'x'), "runs/1/record", 8) == "e5324e00e061096c", "of more");
}

void check_sums() {
  std::vector<double> numbers(1000);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = 1.0 / static_cast<double>(i + 1);
  check(sum(numbers.data(), 1000) == 7.485470860550345, "a long sum");
  check(sum(numbers.data(), 7) == 2.5928571428571425, "a short sum");
  numbers.resize(10);
  check(deviation(numbers.data(), 10, 1) == 0.27726486091644825, "a deviation");
}

void check_splits() {
  for (const size_t count : {1, 2, 15, 16, 100, 5000}) {
    const Split split = hold_out(count, 3);
    const size_t held = std::min<size_t>(count / 8, 64);
    check(split.train.size() == (held < 2 ? count : count - held), text("split of ", count));
    check(split.held_out.size() == (held < 2 ? count : held), text("held out of ", count));
  }
}

std::vector<Example> examples(size_t choices) {
  std::vector<Example> made;
  std::vector<std::string> names;
  for (size_t k = 0; k < choices; ++k) names.push_back(std::string(1, static_cast<char>('a' + k)));
  for (size_t i = 0; i < 80; ++i)
    made.push_back({std::to_string(i % 9), choices ? names[i % choices] : "0.5", names, false});
  return made;
}

// From the second pass over the examples on, no step asks for memory: not for its lanes, not for
// its scalars, its journal, nor its look at the held-out examples. SQLite's own pages aside.
void check_allocations(const Hyperparameters& hyper, size_t choices, KeyProvider* key) {
  const std::string what = text(hyper.estimator, " with ", hyper.optimizer, ", ", choices,
                                " choices", key ? ", sealed" : "");
  Ground ground;
  ground.identity = "i", ground.initial.numbers.resize(300), ground.shapes = {{20, 10}, {100}};
  Store store("", "i", key);
  Learner learner(ground, store);
  const Space space(ground.initial.numbers, ground.shapes, 1);
  KnownEngine engine(space);
  Wish wish;
  wish.hyper = hyper, wish.steps = 24;
  long first = 0, last = 0;
  wish.on_step = [&](const Progress& step) {
    if (step.step == 2) first = allocations;  // every second one is looked at
    last = allocations;
    return true;
  };
  const Report report = learner.fit(examples(choices), engine, wish);
  check(report.steps > 10, "an early end of " + what);
  check(first == last, text(last - first, " allocations of ", what));
}

void check_every_step_is_free_of_allocations() {
  PassphraseKey key("one");
  for (const char* estimator :
       {"antithetic", "axes", "lowrank", "mezo", "one-sided", "quzo", "sparse"})
    for (const char* optimizer : {"adam", "momentum", "normalized", "sgd"}) {
      if (estimator == std::string("one-sided") && optimizer == std::string("normalized")) continue;
      Hyperparameters hyper = Hyperparameters::suited(true, estimator, optimizer);
      hyper.queries = 4, hyper.rate = 1e-4;  // so that no run ends early
      check_allocations(hyper, 0, nullptr);
      check_allocations(hyper, 3, nullptr);
    }
  Hyperparameters hyper = Hyperparameters::suited(true);
  hyper.rate = 1e-4;
  check_allocations(hyper, 2, &key);
}

// Gaussian and Laplace numbers of the system's bytes have the spread that they should.
void check_noise() {
  SystemSource source;
  std::vector<double> normal(20000), laplace(20000);
  for (double& number : normal) number = source.gaussian(3);
  for (double& number : laplace) number = source.laplace(3);
  // Of so many their spread is known to 0.5 and 0.8 %: eight times that is never reached.
  check(std::fabs(deviation(normal.data(), 20000, 1) / 3 - 1) < 0.04, "Gaussian noise");
  check(std::fabs(deviation(laplace.data(), 20000, 1) / (3 * std::sqrt(2.0)) - 1) < 0.065,
        "Laplace noise");
}

void check_refusals() {
  Hyperparameters wrong;
  wrong.optimizer = "lion";
  check_refused(Kind::usage, "expected one of adam, momentum", [&] { wrong.check(); });
  wrong = Hyperparameters();
  wrong.grid = 0.3;
  check_refused(Kind::usage, "expected a power of two", [&] { wrong.check(); });
  check_refused(Kind::usage, "the passphrase is empty", [] { PassphraseKey(""); });
  check_refused(Kind::usage, "rank is 3", [] {
    const Space space(Floats(6), {{2, 3}}, 1);
    Hyperparameters hyper;
    hyper.estimator = "lowrank", hyper.rank = 3;
    Estimator::make(hyper, 0, space);
  });
  check_refused(Kind::usage, "the mask has 1 bytes of hex, expected 2", [] {
    const Space space(Floats(9), {}, 1);
    Hyperparameters hyper;
    hyper.estimator = "sparse", hyper.mask = "0f";
    Estimator::make(hyper, 0, space);
  });
  for (const double epsilon : {0.0, -1.0, double(NAN), double(INFINITY)})
    check_refused(Kind::usage, "expected a number more than 0", [&] { Privacy{epsilon}.check(); });
  for (const double delta : {0.0, 1.0, double(NAN)})
    check_refused(Kind::usage, "expected 0 < delta < 1", [&] { Privacy{8, delta}.check(); });
  Store store("", "i");
  check_refused(Kind::store, "no such fit", [&] { store.run(); });
  check_refused(Kind::store, "no version 4", [&] { store.activate(4); });
  check_refused(Kind::usage, "is no id of an example", [&] { store.forget_examples({"xyz"}); });
}

}  // namespace
}  // namespace dsa::learn

int main() {
  using namespace dsa::learn;
  check_blake2b();
  check_sums();
  check_splits();
  check_every_step_is_free_of_allocations();
  check_noise();
  check_refusals();
  return verdict();
}
