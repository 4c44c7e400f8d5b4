// One user's model: a bundle, its engine, the user's store, and the version in use.
#pragma once

#include <atomic>
#include <mutex>

#include "core/bundle.h"
#include "core/examples.h"
#include "engine/generate.h"
#include "engine/scorer.h"
#include "learn/learner.h"

namespace dsa {

struct OpenOptions {
  std::string store;  // empty keeps all in memory
  int threads = 0;
  bool check_hashes = true;
  int64_t layers_kept = 0;
  learn::KeyProvider* key = nullptr;
};

struct GenerateOptions {
  int64_t max_tokens = 40;
  Sampling sampling;
  int64_t version = -1;
  double memory_mb = 0;
};

// memory_mb: peak of the process, 0 for no bound. base: evaluate the initial adapter as well.
struct UseOptions {
  int64_t version = -1;
  double memory_mb = 0;
  bool base = false;
};

struct FitOptions {
  learn::Wish wish;
  double memory_mb = 0, disk_mb = 0;
};

// Whether a call shall end, and whether a fit shall wait; set from any thread.
class Control {
 public:
  void begin() { stopped_ = false; }
  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }
  void pause(const std::string& reason);
  void resume();
  std::string paused() const;  // why, or ""

 private:
  std::atomic<bool> stopped_{false};
  mutable std::mutex guard_;
  std::string reason_;
};

// What a batch of examples takes: a prompt, and each of some steps; tokens: of one step.
struct Trial {
  double prompt_seconds;
  std::vector<double> step_seconds;
  int64_t tokens;
  learn::Hyperparameters hyper;
};

// Bytes that a fit takes: of prompt caches, of those on the disk meanwhile, and of the store.
struct DiskUse {
  int64_t cache, spilled, growth;
};

// An adapter, and what it makes of examples: losses (B,) and right (B,).
struct Measured {
  learn::Adapter adapter;
  Floats losses, right;
};

class User {
 public:
  // Raises Error of kind bundle, adapter, engine, store.
  User(const std::string& bundle, const OpenOptions& options);

  std::vector<double> choose(const std::string& prompt, const std::vector<std::string>& choices,
                             const UseOptions& options);
  // Calls on_text with each piece until it returns false; returns the whole text.
  std::string generate(const std::string& prompt, const GenerateOptions& options,
                       const std::function<bool(const std::string&)>& on_text);
  std::string evaluate(const std::vector<Example>& examples, const UseOptions& options,
                       const std::function<bool(size_t)>& on_examples);
  learn::Report fit(const std::vector<Example>& examples, const FitOptions& options);

  void save_adapter(const std::string& path);
  int64_t load_adapter(const std::string& path);
  // Of a fit, 0 for the last; its numbers after `steps`, negative for all. Writes them to `path`.
  std::string replay(int64_t fit, int64_t steps, const std::string& path);

  std::string info();
  std::string history();
  std::string plan(const std::vector<Example>& examples, const FitOptions& options);

  Trial trial(const std::vector<Example>& examples, const FitOptions& options, int64_t times);

  const Bundle& bundle() const { return bundle_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const Chat& chat() const { return chat_; }
  learn::Store& store() { return store_; }
  learn::Learner& learner() { return learner_; }
  DecoderEngine& engine() { return engine_; }

  Control control;

 private:
  learn::Adapter version(int64_t id);  // with all its numbers; negative for the one in use
  ScorerOptions scoring(double memory_mb, bool timed) const;
  // Of the store at most, whatever the data turn out to be; none in memory.
  int64_t growth(const std::vector<Example>& examples, const FitOptions& options);
  DiskUse disk_use(const std::vector<Example>& examples, const FitOptions& options);
  void check_disk(const DiskUse& use, const FitOptions& options) const;
  void add_notes(learn::Report& report, const std::vector<Example>& examples);
  ScorerOptions measuring(double memory_mb) const;
  void measure(std::vector<Encoded> part, double memory_mb, std::vector<Measured>& all);

  const Bundle bundle_;
  const Tokenizer tokenizer_;
  const Chat chat_;
  const Encoder encoder_;
  DecoderEngine engine_;
  learn::Store store_;
  learn::Learner learner_;
};

// What runs the adapter: an instruction set of our kernels.
const char* kernels();

}  // namespace dsa
