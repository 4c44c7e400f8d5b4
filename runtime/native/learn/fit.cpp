// A fit from its examples to its verdict.
#include <algorithm>
#include <utility>

#include "check_rates.h"
#include "clusters.h"
#include "explorer.h"
#include "learner.h"
#include "private_course.h"
#include "private_trainer.h"
#include "random.h"
#include "routes.h"
#include "trainer.h"

namespace dsa::learn {
namespace {

constexpr uint64_t kTried = uint64_t{1} << 35;  // an epoch number that no run reaches
constexpr double kPromptShare = 0.5;  // of the seconds, for caching prompts; the rest is for steps

Labels merged(const Labels& old, const std::vector<std::string>& choices, const Floats& bias) {
  Labels labels = old;
  for (size_t k = 0; k < choices.size(); ++k) {
    const auto known = std::find_if(labels.begin(), labels.end(),
                                    [&](const auto& label) { return label.first == choices[k]; });
    if (known == labels.end())
      labels.emplace_back(choices[k], bias[k]);
    else
      known->second = bias[k];
  }
  return labels;
}

}  // namespace

// One fit on its way.
class Fit {
 public:
  Fit(Learner& learner, Engine& engine, const Wish& wish, const std::vector<Example>& examples)
      : learner_(learner),
        store_(learner.store_),
        engine_(engine),
        wish_(wish),
        choices_(all_choose(examples)),
        pace_(learner.usual_steps(wish, choices_), wish.seconds, wish.wait),
        parent_(learner.version()),
        old_(learner.adapter(parent_)),
        hyper_(learner.settled(wish, choices_)),
        space_(learner.space(old_, hyper_.along, parent_)) {
    learner.check(wish, hyper_, space_, pace_.steps);
    known_ = learner.known(examples, wish);
    for (size_t i = examples.size(); i-- > 0;)
      places_[store_.example_id(examples[i].content())] = i;
  }

  Report run() {
    cache_prompts();
    const double prefill_seconds = pace_.elapsed();
    if (!wish_.privacy) split_ = hold_out(objective_->size(), wish_.seed);
    settle_gate();
    if (wish_.privacy) promise();
    begin();
    Outcome outcome = train();
    if (gate_ && !private_) count(outcome);
    Report report = told(outcome);
    report.prefill_seconds = prefill_seconds;
    report.version = keep(outcome);
    report.fit_seconds = pace_.elapsed();
    return report;
  }

 private:
  void cache_prompts() {
    std::vector<Example> examples;
    for (const auto& [id, example] : known_) examples.push_back(example);
    pace_.pause();
    const size_t ready = engine_.load(examples, [&](size_t done, double ahead) {
      if (wish_.on_prefill) wish_.on_prefill(done);
      pace_.pause();
      return !pace_.late(kPromptShare, ahead) && !(wish_.stop && wish_.stop());
    });
    if (ready < 1 || ready > examples.size())
      throw Error(Kind::engine, "the engine cached no prompt: report this.");
    examples.resize(ready);
    const Subspace* along = hyper_.along ? &learner_.ground_.subspace : nullptr;
    objective_.emplace(engine_, examples, space_.size(), along, learner_.ground_.active);
    objective_->bias = objective_->bias_of(old_);
  }

  // Routes examples by the gate in use, or by one that is made of their prompts. Those that are
  // held out have no say in it. Of private ones nothing may be read that leaves the fit.
  void settle_gate() {
    const size_t blocks = learner_.ground_.blocks, width = objective_->pooled_width();
    if (blocks == 1) return engine_.route_by(nullptr);
    if (wish_.privacy && !old_.gate)
      throw Error(Kind::privacy,
                  "a gate would be made of the private prompts themselves, expected one that is "
                  "there: fit without privacy on prompts that are not private first, or load an "
                  "adapter.");
    const auto make = hyper_.gate == "scratch" ? scattered : clustered;
    gate_ =
        old_.gate ? *old_.gate : make(objective_->pooled(split_.train), width, blocks, wish_.seed);
    engine_.route_by(&*gate_);
  }

  // Settles how a private fit keeps its guarantee, or refuses it.
  void promise() {
    std::vector<std::string> some = ids();
    some.resize(objective_->size());
    store_.database().guarded(
        [&] { private_.emplace(some, hyper_, *wish_.privacy, pace_.steps, store_.runs()); });
    split_ = private_->split(), hyper_ = private_->hyper();
  }

  std::string spent(int64_t steps) const {
    return private_ ? private_->spent(steps).json() : "null";
  }

  void explore() {
    if (hyper_.learns_gate() && gate_)
      explorer_.emplace(*objective_, split_.train, *gate_, hyper_, wish_.seed);
  }

  std::string directions() const { return explorer_ ? to_base64(explorer_->directions()) : ""; }

  // Opens the journal: behind an interrupted fit that was the same, or a new one.
  void begin() {
    if (wish_.remember) remember();
    if (resume()) return;
    if (!private_) try_out();
    Run begun;
    begun.parent = parent_, begun.seed = wish_.seed, begun.hyper = hyper_.json();
    begun.examples = ids(), begun.privacy = spent(pace_.steps);
    const size_t own = Estimator::make(hyper_, wish_.seed, space_)->width();
    begun.width = static_cast<int64_t>(own + (explorer_ ? explorer_->width() : 0));
    if (gate_ && !old_.gate) begun.gate = rows_of(*gate_);
    begun.directions = directions();
    begun.start = learner_.begins_at(parent_, hyper_.along);
    run_ = store_.start_run(begun);
  }

  // Tries the radius and the rate on some of the examples.
  void try_out() {
    Indices tried;
    for (const uint32_t i : order(wish_.seed, kTried, split_.train.size()))
      if (tried.size() < static_cast<size_t>(hyper_.batch)) tried.push_back(split_.train[i]);
    Checked found = checked(*objective_, {tried.data(), tried.size()}, space_, hyper_, wish_.seed);
    hyper_ = found.hyper, notes_ = std::move(found.notes);
    explore();
  }

  // Whether the last fit was interrupted and was this one: its radius and rate are then kept. One
  // with a privacy guarantee is never gone on with: steps without noise would be taken for noised.
  bool resume() {
    const std::vector<Run> all = store_.runs();
    if (!wish_.resume || private_ || all.empty()) return false;
    const Run& last = all.back();
    if (last.verdict || last.numbers || last.privacy != "null" || last.parent != parent_ ||
        last.seed != wish_.seed || last.examples != ids() ||
        last.gate.empty() != (!gate_ || old_.gate))
      return false;
    Hyperparameters theirs = Hyperparameters::read(last.hyper), same = theirs;
    same.epsilon = hyper_.epsilon, same.rate = hyper_.rate;
    if (!(same == hyper_) || last.start != learner_.begins_at(parent_, hyper_.along)) return false;
    std::vector<Step> done = store_.journal(last);
    if (static_cast<int64_t>(done.size()) > pace_.steps || !same_gate(last, theirs)) return false;
    hyper_ = theirs, run_ = last.id, done_ = std::move(done);
    store_.go_on(done_.size());
    return true;
  }

  // Whether an interrupted fit made its gate as this one does, and learned it so.
  bool same_gate(const Run& last, const Hyperparameters& theirs) {
    if (!last.gate.empty() && read_gate(last.gate).table != gate_->table) return false;
    const Hyperparameters own = std::exchange(hyper_, theirs);
    explore();
    if (directions() == last.directions) return true;
    hyper_ = own, explorer_.reset();
    return false;
  }

  Outcome train() {
    Hooks hooks;
    hooks.record = [this](float rate, const float* scalars, size_t count) {
      store_.append(run_, rate, scalars, count);
    };
    hooks.on_step = wish_.on_step, hooks.stop = wish_.stop;
    if (private_) return train_privately(hooks);
    return Trainer(*objective_, split_, space_, hyper_, wish_.seed, hooks, pace_,
                   explorer_ ? &*explorer_ : nullptr)
        .run(done_);
  }

  Outcome train_privately(const Hooks& hooks) {
    SystemSource source;
    Mechanism mechanism(private_->noise(), hyper_.batch, source);
    return PrivateTrainer(*objective_, split_, space_, hyper_, wish_.seed, hooks, pace_, mechanism,
                          private_->verdict())
        .run();
  }

  // Saves the outcome as a version if it improved; returns the version in use.
  int64_t keep(const Outcome& outcome) {
    if (outcome.verdict != "improved") {
      store_.end_run(run_, outcome.verdict, nullptr, spent(outcome.steps));
      return parent_;
    }
    Made made;
    made.adapter.numbers = outcome.kept.adapter;
    made.adapter.labels = merged(old_.labels, objective_->choices, outcome.kept.bias);
    made.adapter.along = hyper_.along ? learner_.ground_.start : "";
    made.adapter.gate = gate_;
    made.kept = outcome.kept.kept;
    made.summary =
        "{\"before\": " + outcome.before.json() + ", \"after\": " + outcome.after.json() + "}";
    return store_.end_run(run_, outcome.verdict, &made, spent(outcome.steps)).value_or(parent_);
  }

  // The gate that came of the fit, with how many of the prompts each block serves.
  void count(const Outcome& outcome) {
    if (outcome.kept.gate) gate_ = outcome.kept.gate;
    engine_.route_by(&*gate_);
    routes_.emplace(*objective_, learner_.ground_.blocks);
    gate_->served = routes_->served();
  }

  Report told(const Outcome& outcome) {
    const bool alone = split_.held_out.size() == objective_->size();
    Report report;
    report.verdict = outcome.verdict, report.steps = outcome.steps;
    report.resumed = static_cast<int64_t>(done_.size());
    report.examples = objective_->size(), report.held_out = alone ? 0 : split_.held_out.size();
    report.before = outcome.before, report.after = outcome.after;
    if (!objective_->choices.empty()) report.calibrated = outcome.calibrated;
    report.step_seconds = outcome.step_seconds, report.tokens = outcome.tokens;
    report.adapter_size = static_cast<int64_t>(learner_.ground_.initial.numbers.size());
    report.adapter_bytes = 4 * static_cast<int64_t>(space_.size());
    report.seed = wish_.seed, report.hyper = hyper_, report.curve = outcome.curve;
    if (private_) report.privacy = private_->spent(outcome.steps);
    report.notes = notes(alone);
    if (!routes_) return report;
    report.routes = gate_->served, report.evenness = evenness(gate_->served);
    report.served_examples = routes_->examples(ids(), places_);
    const auto more = notes_of_routes(gate_->served, objective_->size());
    report.notes.insert(report.notes.end(), more.begin(), more.end());
    return report;
  }

  std::vector<std::string> notes(bool alone) const {
    std::vector<std::string> notes;
    if (hyper_.estimator != "antithetic" || hyper_.optimizer != "adam")
      notes.push_back(text("estimator ", hyper_.estimator, ", optimizer ", hyper_.optimizer));
    if (hyper_.along)
      notes.push_back(text("learned along ", hyper_.along, " directions of the bundle's start"));
    notes.insert(notes.end(), notes_.begin(), notes_.end());
    if (objective_->size() < known_.size())
      notes.push_back(text("the time allowed is enough for ", objective_->size(), " of ",
                           known_.size(), " examples; the others are left out"));
    if (alone)
      notes.push_back(
          "too few examples to hold any out: the verdict is about the training examples");
    return notes;
  }

  void remember() {
    std::vector<std::pair<std::string, std::string>> contents;
    for (const auto& [id, example] : known_) contents.emplace_back(id, example.content());
    store_.remember(contents);
  }

  std::vector<std::string> ids() const {
    std::vector<std::string> ids;
    for (const auto& [id, example] : known_) ids.push_back(id);
    return ids;
  }

  Learner& learner_;
  Store& store_;
  Engine& engine_;
  const Wish& wish_;
  const bool choices_;
  Pace pace_;
  const int64_t parent_;
  const Adapter old_;
  Hyperparameters hyper_;
  const Space space_;
  Learner::Known known_;
  std::optional<Objective> objective_;
  std::optional<PrivateCourse> private_;
  Split split_;
  std::vector<std::string> notes_;
  std::vector<Step> done_;
  std::map<std::string, size_t> places_;  // of the examples given, by id
  std::optional<Gate> gate_;              // none with one block
  std::optional<Explorer> explorer_;      // learns it
  std::optional<Routes> routes_;
  int64_t run_ = 0;
};

Report Learner::fit(const std::vector<Example>& examples, Engine& engine, const Wish& wish) {
  const Database::Writing alone(store_.database());
  return Fit(*this, engine, wish, examples).run();
}

}  // namespace dsa::learn
