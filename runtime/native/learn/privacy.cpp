#include "privacy.h"

#include <cmath>

#include "errors.h"
#include "hyper.h"
#include "json.h"

namespace dsa::learn {

void Privacy::check() const {
  if (!(epsilon > 0 && std::isfinite(epsilon)))
    throw Error(Kind::usage, text("epsilon is ", epsilon, ", expected a number more than 0."));
  if (!(delta > 0 && delta < 1))
    throw Error(Kind::usage, text("delta is ", delta, ", expected 0 < delta < 1, as 1e-5."));
  if (batch < 1)
    throw Error(Kind::usage, text("the batch of privacy is ", batch, ", expected at least 1."));
}

void check_covered(const Hyperparameters& hyper) {
  if (hyper.learns_gate())
    throw Error(
        Kind::privacy,
        text("the guarantee does not cover what a gate learns of prompts, got gate ", hyper.gate,
             ": use gate clusters with a gate that is there, or learn without privacy."));
  if (hyper.estimator != "antithetic")
    throw Error(Kind::privacy,
                text("the guarantee covers the scalars of estimator antithetic, got ",
                     hyper.estimator, ": leave out the estimator, or learn without privacy."));
}

std::string Spent::json() const {
  return written({{"noise", noise},
                  {"share", share},
                  {"steps", steps},
                  {"verdict", verdict},
                  {"epsilon", epsilon},
                  {"delta", delta},
                  {"accountant", accountant}});
}

Spent Spent::read(const std::string& json) {
  Fields fields(json);
  Spent spent;
  spent.noise = fields.get<double>("noise"), spent.share = fields.get<double>("share");
  spent.steps = fields.get<int64_t>("steps"), spent.verdict = fields.get<double>("verdict");
  spent.epsilon = fields.get<double>("epsilon"), spent.delta = fields.get<double>("delta");
  // Journals from before it was written are Python's.
  spent.accountant = fields.maybe<std::string>("accountant").value_or("pld");
  fields.end();
  if (!(spent.noise > 0 && spent.share > 0 && spent.share <= 1 && spent.steps >= 0 &&
        spent.verdict >= 0 && std::isfinite(spent.noise) && std::isfinite(spent.verdict)))
    throw Broken("what a fit took of its privacy is no such thing");
  return spent;
}

}  // namespace dsa::learn
