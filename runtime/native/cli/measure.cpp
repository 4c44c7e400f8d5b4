#include "cli/measure.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "api/user.h"
#include "cli/options.h"
#include "learn/optimizer.h"
#include "learn/slopes.h"

namespace dsa_cli {

namespace {

using dsa::Floats;
using dsa::Ints;
using dsa::Json;
using Seconds = std::vector<double>;

constexpr int64_t kLoads = 3;  // at most: of a large base each takes seconds
constexpr int64_t kShort = 32;  // tokens of a step's examples, and before what is generated

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// One zeroth-order step of free responses, again and again: lanes, probe, slopes, update.
class Steps {
 public:
  Steps(dsa::Scorer& scorer, size_t size, const dsa::learn::Hyperparameters& hyper)
      : scorer_(scorer),
        space_(Floats(size), {}, 1),
        state_(space_, hyper, 0),
        estimator_(state_.estimator()),
        batch_(static_cast<size_t>(hyper.batch)),
        slopes_(estimator_, batch_, 0),
        rate_(static_cast<float>(hyper.rate)),
        lanes_(std::min(estimator_.at_a_time(), estimator_.lanes()) * size),
        losses_(estimator_.lanes() * batch_),
        scalars_(estimator_.width()) {
    for (uint32_t at = 0; at < batch_; ++at) all_.push_back(at);
  }

  void run() {
    const dsa::learn::Some batch{all_.data(), batch_};
    for (size_t lane = 0; lane < estimator_.lanes();) {
      const size_t count = std::min(estimator_.at_a_time(), estimator_.lanes() - lane);
      estimator_.write_lanes(state_.theta().data(), state_.step(), lane, count, lanes_.data());
      scorer_.probe(batch, {lanes_.data(), count}, losses_.data() + lane * batch_, nullptr);
      lane += count;
    }
    slopes_.from_losses(losses_.data(), batch_, nullptr, scalars_.data());
    state_.update(rate_, scalars_.data());
  }

 private:
  dsa::Scorer& scorer_;
  const dsa::learn::Space space_;
  dsa::learn::State state_;
  dsa::learn::Estimator& estimator_;
  const size_t batch_;
  dsa::learn::Slopes slopes_;
  const float rate_;
  Floats lanes_, losses_, scalars_;
  std::vector<uint32_t> all_;
};

// What is run on one opened bundle.
class Bench {
 public:
  Bench(const std::string& bundle, const BenchSettings& settings)
      : settings_(settings),
        user_(bundle, {"", static_cast<int>(settings.threads), false, 0, nullptr}),
        manifest_(user_.bundle().manifest),
        encoder_(user_.tokenizer(), manifest_) {
    const int64_t room = manifest_.decoder.max_positions - settings.new_tokens - 1;
    if (settings.prompt_tokens > room)
      throw WrongUse("prompt_tokens is " + std::to_string(settings.prompt_tokens) +
                     ", this base has room for " + std::to_string(room) + " before " +
                     std::to_string(settings.new_tokens) + " new ones: ask for fewer.");
    short_ = std::min(kShort, room);
  }

  Json about() const {
    return {{"format", "dsa-edge bench 1"},
            {"engine", {{"backend", "executorch"}, {"kernels", dsa::kernels()}}},
            {"bundle",
             {{"identity", manifest_.identity},
              {"layers", manifest_.decoder.n_layers},
              {"adapter_size", manifest_.adapter_size()}}},
            {"settings",
             {{"prompt_tokens", settings_.prompt_tokens},
              {"new_tokens", settings_.new_tokens},
              {"lanes", settings_.lanes},
              {"batch", settings_.batch},
              {"warmup", settings_.warmup},
              {"repeats", settings_.repeats},
              {"threads", settings_.threads},
              {"backend", settings_.backend}}},
            {"tokens", {{"prompt", settings_.prompt_tokens}, {"generate", settings_.new_tokens - 1}}}};
  }

  Json seconds() {
    Json found;
    found["prompt"] = repeated([&] { return timed([&] { prefill(); }); });
    found["generate"] = repeated([&] { return generated(); });
    dsa::Scorer scorer = scorer_of();
    scorer.load(examples(settings_.batch), nullptr);
    Steps steps(scorer, static_cast<size_t>(manifest_.adapter_size()), hyper());
    found["probe"] = repeated([&] { return timed([&] { steps.run(); }); });
    for (const float value : {0.01f, 0.02f}) user_.learner().use_adapter(adapter_of(value));
    found["switch"] = repeated([&] { return timed([&] { change_version(); }); });
    return found;
  }

  // Each kind of work once, for what it takes of memory.
  void once() {
    prefill();
    generated();
    dsa::Scorer scorer = scorer_of();
    scorer.load(examples(settings_.batch), nullptr);
    Steps(scorer, static_cast<size_t>(manifest_.adapter_size()), hyper()).run();
  }

  // The least that gives a loss.
  void first_probe() {
    dsa::Scorer scorer = scorer_of();
    scorer.load(examples(1), nullptr);
    const Floats lanes(2 * static_cast<size_t>(manifest_.adapter_size()));
    const uint32_t only = 0;
    float losses[2];
    scorer.probe({&only, 1}, {lanes.data(), 2}, losses, nullptr);
  }

 private:
  template <class Work>
  static double timed(Work&& work) {
    const double began = now();
    work();
    return now() - began;
  }

  template <class Run>
  Seconds repeated(Run&& run) const {
    Seconds found;
    for (int64_t at = 0; at < settings_.warmup + settings_.repeats; ++at) {
      const double seconds = run();
      if (at >= settings_.warmup) found.push_back(seconds);
    }
    return found;
  }

  Ints tokens(int64_t count) const {
    std::mt19937_64 random(0);
    std::uniform_int_distribution<int64_t> any(3, manifest_.decoder.vocab_size - 1);
    Ints made(static_cast<size_t>(count));
    for (int64_t& token : made) token = any(random);
    return made;
  }

  dsa::Scorer scorer_of() { return {user_.engine(), encoder_, {}}; }

  dsa::learn::Hyperparameters hyper() const {
    dsa::learn::Hyperparameters made;
    made.queries = settings_.lanes / 2, made.batch = settings_.batch;
    return made;
  }

  void prefill() {
    user_.engine().prefill({}, tokens(settings_.prompt_tokens),
                           tokens(manifest_.adapter.invocation), {settings_.prompt_tokens});
  }

  // Random prompts, of which the last of the rows that the adapter acts on is judged alone.
  std::vector<dsa::Encoded> examples(int64_t count) const {
    const Ints ids = tokens(count * short_), tail = tokens(manifest_.adapter.invocation);
    std::vector<float> weights(tail.size());
    weights.back() = 1;
    std::vector<dsa::Encoded> made;
    for (auto from = ids.begin(); from != ids.end(); from += short_) {
      dsa::Encoded one;
      one.items.push_back({Ints(from, from + short_), tail, tail, weights});
      made.push_back(std::move(one));
    }
    return made;
  }

  // Seconds from the first new token to the last.
  double generated() {
    const Ints ids = tokens(short_);
    const dsa::learn::Adapter adapter = user_.learner().adapter();
    const Floats numbers = user_.learner().whole(adapter);
    const dsa::Chunks chunks = user_.engine().layers().bound(0, {true, short_});
    double first = 0, last = 0;
    dsa::generate(user_.engine(), Ints(ids.begin(), ids.end() - 1), {ids.back()}, numbers.data(),
                  adapter.gate ? &*adapter.gate : nullptr, {}, {}, settings_.new_tokens, chunks,
                  [&](int64_t) {
                    last = now();
                    if (first == 0) first = last;
                    return true;
                  });
    return last - first;
  }

  // One of the same numbers; with a gate that says nothing where blocks need one.
  dsa::learn::Adapter adapter_of(float value) const {
    dsa::learn::Adapter made;
    made.numbers.assign(static_cast<size_t>(manifest_.adapter_size()), value);
    const auto blocks = static_cast<size_t>(manifest_.adapter.blocks);
    if (blocks > 1) {
      const auto width = static_cast<size_t>(manifest_.decoder.width);
      made.gate = dsa::learn::Gate{blocks, width, Floats(blocks * (width + 1)),
                                   std::vector<int64_t>(blocks)};
    }
    return made;
  }

  void change_version() {
    dsa::learn::Learner& learner = user_.learner();
    learner.rollback(learner.version() == 2 ? 1 : 2);
    if (learner.adapter().numbers.empty()) throw WrongUse("an adapter without numbers");
  }

  const BenchSettings settings_;
  dsa::User user_;
  const dsa::Manifest& manifest_;
  const dsa::Encoder encoder_;
  int64_t short_ = 0;
};

// From nothing to the loss of a first probe, files in the system's cache; hashes unread.
Seconds loads(const std::string& bundle, const BenchSettings& settings) {
  Seconds found;
  for (int64_t at = 0; at < std::min(kLoads, settings.repeats); ++at) {
    const double began = now();
    Bench(bundle, settings).first_probe();
    found.push_back(now() - began);
  }
  return found;
}

void at_least(const char* name, int64_t value, int64_t least) {
  if (value < least)
    throw WrongUse(std::string(name) + " is " + std::to_string(value) + ", expected at least " +
                   std::to_string(least) + ": ask for more.");
}

}  // namespace

void BenchSettings::check() const {
  at_least("prompt_tokens", prompt_tokens, 1), at_least("new_tokens", new_tokens, 2);
  at_least("lanes", lanes, 2), at_least("batch", batch, 1), at_least("warmup", warmup, 0);
  at_least("repeats", repeats, 2), at_least("threads", threads, 0);
  if (lanes % 2)
    throw WrongUse("lanes is " + std::to_string(lanes) +
                   ", expected an even number: lanes are pairs, so ask for " +
                   std::to_string(lanes + 1) + ".");
  if (backend != "auto" && backend != "executorch")
    throw WrongUse("backend is \"" + backend +
                   "\", and dsa_runner runs ExecuTorch alone: leave it out, or measure with Python.");
}

Json measured(const std::string& bundle, bool memory, const BenchSettings& settings) {
  settings.check();
  Json told;
  {
    Bench bench(bundle, settings);
    told = bench.about();
    if (memory) {
      bench.once();
      told["peak_mb"] = dsa::peak_mb();
      return told;
    }
    told["seconds"] = bench.seconds();
  }
  told["seconds"]["load"] = loads(bundle, settings);
  return told;
}

}  // namespace dsa_cli
