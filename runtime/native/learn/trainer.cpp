#include "trainer.h"

#include <algorithm>
#include <cmath>

#include "sums.h"

namespace dsa::learn {
namespace {

constexpr int64_t kChecks = 12;  // times a run looks at the held-out examples
constexpr int kPatience = 6;     // looks clearly worse than the best, after which a run ends early
constexpr double kDiverged = 2.0;  // held-out loss over the one at the start that stops a run

}  // namespace

Trainer::Trainer(Objective& objective, const Split& split, const Space& space,
                 const Hyperparameters& hyper, uint64_t seed, const Hooks& hooks, Pace& pace,
                 Explorer* explorer)
    : objective_(objective),
      split_(split),
      hyper_(hyper),
      hooks_(hooks),
      pace_(pace),
      state_(space, hyper, seed),
      estimator_(state_.estimator()),
      batches_(split.train, objective.choices.empty() ? nullptr : &objective.answers,
               static_cast<size_t>(hyper.batch), seed),
      slopes_(estimator_, batches_.size(), objective.choices.size()),
      explorer_(explorer),
      own_(estimator_.width()) {
  const size_t lanes = estimator_.lanes(), batch = batches_.size(),
               choices = objective.choices.size();
  if (choices) calibration_.emplace(choices);
  lanes_.resize(std::min(estimator_.at_a_time(), lanes) * space.size());
  losses_.resize(lanes * batch), right_.resize(batch), before_batch_.resize(batch);
  raw_.resize(lanes * batch * choices), calibrated_.resize(raw_.size());
  centre_.resize(batch * choices), answers_.resize(batch),
      scalars_.resize(own_ + (explorer ? explorer->width() : 0));
  seen_start_.resize(batch);
  scratch_.resize(std::max(split.held_out.size(), batch));
  times_.reserve(static_cast<size_t>(pace.steps)), curve_.reserve(times_.capacity());
}

Outcome Trainer::run(const std::vector<Step>& done) {
  const Look before = look();
  const std::vector<double> levelled = calibrate(state_.theta().data(), reference_);
  now_ = look();
  Outcome outcome;
  outcome.before = Evaluation::of(before.losses, before.right);
  outcome.calibrated = Evaluation::of(now_.losses, now_.right);
  start_loss_ = mean_of(now_.losses);
  Looks looks(before, now_, levelled, split_.train.size());
  repeat(done, looks);
  pace_.begin();
  Ended ended = looks.worse() >= kPatience ? Ended::yes : Ended::no;
  for (int64_t index = static_cast<int64_t>(done.size()); ended == Ended::no && index < pace_.steps;
       ++index) {
    pace_.pause();
    const double progress = pace_.progress(index);
    if (progress >= 1 || (hooks_.stop && hooks_.stop())) break;
    ended = next(index, progress, looks);
  }
  const bool looked = now_.kept == static_cast<int64_t>(state_.step());
  Progress last{};
  if (ended != Ended::diverged && !looked)
    ended = watch(curve_.empty() ? last : curve_.back(), looks);
  conclude(before, looks, ended, outcome);
  return outcome;
}

// Makes steps of an interrupted run again. What their lanes measured is gone; the looks are not.
void Trainer::repeat(const std::vector<Step>& done, Looks& looks) {
  for (size_t index = 0; index < done.size(); ++index) {
    batches_.next();
    const Step& step = done[index];
    state_.update(step.rate, step.scalars.data());
    if (explorer_) explorer_->move(step.scalars.data() + own_, step.rate);
    if (!due(static_cast<int64_t>(index))) continue;
    Progress event{};
    watch(event, looks);
  }
  Floats losses;  // not those of the start
  if (!done.empty() && calibration_) calibrate(state_.theta().data(), losses);
}

// One step, and what is told and decided after it.
Trainer::Ended Trainer::next(int64_t index, double progress, Looks& looks) {
  const double began = pace_.elapsed();
  const uint32_t* batch = batches_.next();
  step(batch, progress);
  if (is_new(index)) see_new(batch, looks);
  times_.push_back(pace_.elapsed() - began);
  Progress event{static_cast<int64_t>(state_.step()), loss_, pace_.elapsed(), tokens_, {}, {}};
  const Ended ended = due(index) ? watch(event, looks) : Ended::no;
  curve_.push_back(event);
  const bool stopped = hooks_.on_step && !hooks_.on_step(event);
  return ended == Ended::no && stopped ? Ended::yes : ended;
}

// A look at the held-out examples.
Trainer::Ended Trainer::watch(Progress& event, Looks& looks) {
  look_into(now_);
  // Within its budget alone, an adapter whose numbers are taken away may be kept.
  if (hyper_.keep == 1 || static_cast<int64_t>(state_.step()) > hyper_.keep_until) looks.add(now_);
  const double loss = exact_mean(now_.losses.data(), now_.losses.size(), scratch_.data());
  event.seconds = pace_.elapsed(), event.tokens = tokens_;
  event.held_out_loss = loss, event.held_out_accuracy = Evaluation::accuracy_of(now_.right);
  if (!(loss < std::max(kDiverged * start_loss_, start_loss_ + 1))) return Ended::diverged;
  return looks.worse() >= kPatience ? Ended::yes : Ended::no;
}

void Trainer::conclude(const Look& before, const Looks& looks, Ended ended, Outcome& outcome) {
  const Look* kept = state_.step() ? looks.verdict() : nullptr;
  const bool improved = ended != Ended::diverged && kept;
  outcome.verdict = improved                   ? "improved"
                    : ended == Ended::diverged ? "diverged"
                                               : "no improvement";
  outcome.kept = improved ? *kept : before;
  outcome.after = Evaluation::of(outcome.kept.losses, outcome.kept.right);
  outcome.steps = static_cast<int64_t>(state_.step()), outcome.tokens = tokens_;
  outcome.step_seconds = median(times_);
  outcome.curve = std::move(curve_);
}

Look Trainer::look() {
  Look made;
  look_into(made);
  return made;
}

void Trainer::look_into(Look& look) {
  const Some held{split_.held_out.data(), split_.held_out.size()};
  if (explorer_) explorer_->settle();
  tokens_ += objective_.tokens(held);
  look.losses.resize(held.count), look.right.resize(held.count);
  objective_.losses(held, {state_.theta().data(), 1}, look.losses.data(), look.right.data());
  look.adapter = state_.theta();
  look.kept = static_cast<int64_t>(state_.step());
  look.bias = objective_.bias;
  if (explorer_) look.gate = explorer_->gate();
}

// Fits the label biases of an adapter. Returns what each training example gains by those that the
// others tell, none without choices; losses (N,) are theirs with the biases.
std::vector<double> Trainer::calibrate(const float* adapter, Floats& losses) {
  const Some all{split_.train.data(), split_.train.size()};
  tokens_ += objective_.tokens(all);
  losses.resize(all.count);
  if (!calibration_) {
    objective_.losses(all, {adapter, 1}, losses.data());
    return {};
  }
  Floats raw(all.count * objective_.choices.size());
  objective_.scores(all, {adapter, 1}, raw.data());
  objective_.scored(all, raw.data(), 1, losses.data(), nullptr);
  const Floats before = losses;
  std::vector<uint32_t> answers;
  for (const uint32_t i : split_.train) answers.push_back(objective_.answers[i]);
  calibration_->observe(raw.data(), answers.data(), all.count);
  objective_.bias = calibration_->bias();
  objective_.scored(all, raw.data(), 1, losses.data(), nullptr);
  return gains_of_biases(before, raw, answers);
}

// Of the examples that are remembered: nats by which biases of all others beat those before.
std::vector<double> Trainer::gains_of_biases(const Floats& before, const Floats& raw,
                                             const std::vector<uint32_t>& answers) {
  const size_t count = std::min(answers.size(), kRemembered), skip = answers.size() - count;
  std::vector<double> gains = calibration_->left_out(raw.data() + skip * objective_.choices.size(),
                                                     answers.data() + skip, count);
  for (size_t i = 0; i < count; ++i) gains[i] = before[skip + i] - gains[i];
  gains.erase(
      std::remove_if(gains.begin(), gains.end(), [](double gain) { return !std::isfinite(gain); }),
      gains.end());
  return gains;
}

void Trainer::step(const uint32_t* at, double progress) {
  const Some batch{at, batches_.size()};
  tokens_ += static_cast<int64_t>(estimator_.lanes()) * objective_.tokens(batch);
  if (explorer_) explorer_->draw(batch, state_.step());
  calibration_ ? measure_choices(batch) : measure_losses(batch);
  const float rate = static_cast<float>(hyper_.rate_at(progress));
  hooks_.record(rate, scalars_.data(), scalars_.size());
  state_.update(rate, scalars_.data());
  if (explorer_) explorer_->move(scalars_.data() + own_, rate);
}

// By which blocks, in every pair or in each.
Served Trainer::served(Some batch) {
  return explorer_ ? explorer_->served() : Served(objective_.served(batch));
}

// Takes from the losses of all lanes what they say of the routes.
void Trainer::learn_gate() {
  if (explorer_) explorer_->scalars(losses_.data(), scalars_.data() + own_);
}

// Calls measure(first lane, lanes) for blocks of lanes, as many at a time as the estimator makes.
template <class Measure>
void Trainer::each_block(Measure measure) {
  for (size_t lane = 0; lane < estimator_.lanes();) {
    const size_t end = explorer_ ? explorer_->route(lane) : estimator_.lanes();
    const size_t count = std::min(estimator_.at_a_time(), end - lane);
    estimator_.write_lanes(state_.theta().data(), state_.step(), lane, count, lanes_.data());
    measure(lane, Lanes{lanes_.data(), count});
    lane += count;
  }
}

// Scalars, the mean loss of the lanes, and losses (B,) of what they surround.
void Trainer::measure_losses(Some batch) {
  each_block([&](size_t first, Lanes lanes) {
    objective_.losses(batch, lanes, losses_.data() + first * batch.count);
  });
  slopes_.from_losses(losses_.data(), batch.count, served(batch), scalars_.data());
  learn_gate();
  loss_ = mean(losses_.data(), losses_.size());
  for (size_t b = 0; b < batch.count; ++b) {
    float total = 0;
    for (size_t lane = 0; lane < estimator_.lanes(); ++lane)
      total += losses_[lane * batch.count + b];
    before_batch_[b] = total / static_cast<float>(estimator_.lanes());
  }
}

void Trainer::measure_choices(Some batch) {
  const size_t choices = objective_.choices.size(), each = batch.count * choices;
  each_block([&](size_t first, Lanes lanes) {
    objective_.scores(batch, lanes, raw_.data() + first * each);
  });
  for (size_t i = 0; i < raw_.size(); ++i) calibrated_[i] = raw_[i] + objective_.bias[i % choices];
  for (size_t b = 0; b < batch.count; ++b) answers_[b] = objective_.answers[batch.at[b]];
  slopes_.from_scores(calibrated_.data(), answers_.data(), batch.count, served(batch),
                      scalars_.data());
  objective_.scored(batch, raw_.data(), estimator_.lanes(), losses_.data(), nullptr);
  learn_gate();
  loss_ = mean(losses_.data(), losses_.size());
  centre_of_lanes(batch.count);
  objective_.scored(batch, centre_.data(), 1, before_batch_.data(), nullptr);
  calibration_->observe(centre_.data(), answers_.data(), batch.count);
  objective_.bias = calibration_->bias();
}

// Mean scores (B, K) of the lanes that are whole, or of all where none is.
void Trainer::centre_of_lanes(size_t batch) {
  const size_t each = batch * objective_.choices.size(), lanes = estimator_.lanes();
  float count = 0;
  const auto whole = [&](size_t lane) {
    const float* own = raw_.data() + lane * each;
    return std::all_of(own, own + each, [](float s) { return std::isfinite(s); });
  };
  std::fill(centre_.begin(), centre_.end(), 0.0f);
  for (int pass = 0; pass < 2 && count == 0; ++pass)
    for (size_t lane = 0; lane < lanes; ++lane) {
      if (pass == 0 && !whole(lane)) continue;
      ++count;
      for (size_t i = 0; i < each; ++i) centre_[i] += raw_[lane * each + i];
    }
  for (float& score : centre_) score /= count;
}

// Whether to look at the held-out examples after a step.
bool Trainer::due(int64_t index) const {
  const bool last = index + 1 == pace_.steps || pace_.progress(index + 1) >= 1;
  return last || (index + 1) % std::max<int64_t>(1, pace_.steps / kChecks) == 0;
}

// Whether a step's batch belongs to the second half of the first pass.
bool Trainer::is_new(int64_t index) const {
  const size_t size = batches_.size(), all = split_.train.size();
  const size_t first = static_cast<size_t>(index) * size;
  return all <= 2 * first && first <= all - size;
}

void Trainer::see_new(const uint32_t* batch, Looks& looks) {
  for (size_t b = 0; b < batches_.size(); ++b) {
    const auto found = std::lower_bound(split_.train.begin(), split_.train.end(), batch[b]);
    const size_t at = static_cast<size_t>(found - split_.train.begin());
    seen_start_[b] = reference_[at];
    // What chance sent elsewhere says nothing of how the example is answered.
    if (explorer_ && !explorer_->usual(b)) before_batch_[b] = std::nanf("");
  }
  looks.see(before_batch_.data(), seen_start_.data(), batches_.size());
}

}  // namespace dsa::learn
