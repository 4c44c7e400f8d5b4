// What needs no bundle: hashes, UTF-8, float16, canonical JSON, command lines.
#include <cmath>
#include <cstdio>
#include <limits>

#include "cli/options.h"
#include "core/canonical.h"
#include "core/errors.h"
#include "core/sha256.h"
#include "core/utf8.h"
#include "engine/arrays.h"

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  ++failures;
}

template <class Call>
bool refused(Call&& call) {
  try {
    call();
    return false;
  } catch (const std::exception&) {
    return true;
  }
}

void hashes() {
  dsa::Sha256 none, million;
  expect(none.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
         "SHA-256 of nothing (FIPS 180-4)");
  for (int i = 0; i < 1000; ++i) million.add(std::string(1000, 'a').data(), 1000);
  expect(million.hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
         "SHA-256 of a million times a (FIPS 180-4)");
}

void texts() {
  const char bad[] = "\xE6\x97";  // the first two bytes of a character
  expect(dsa::lossy("a" + std::string(bad) + "b") ==
             "a\xEF\xBF\xBD"
             "b",
         "one mark for a part");
  expect(dsa::lossy("\xFF\xFE") == "\xEF\xBF\xBD\xEF\xBF\xBD", "a mark for each byte that is none");
  expect(dsa::first_invalid("\xED\xA0\x80") == 0, "surrogates are no UTF-8");
  expect(dsa::first_invalid("h\xC3\xA9") == std::string_view::npos, "UTF-8 is valid");
  expect(dsa::canonical(R"({"b": [1, 2.50, "é"], "a": {"x": null}, "c": 1})", "c") ==
             R"({"a":{"x":null},"b":[1,2.50,"\u00e9"]})",
         "canonical JSON sorts, escapes and keeps numbers as written");
  expect(refused([] { dsa::canonical("[1]", ""); }), "a list is no manifest");
  expect(refused([] { dsa::canonical(std::string(100000, '['), ""); }), "deep nesting is refused");
}

void halves() {
  expect(dsa::to_half(1.0f) == 0x3C00 && dsa::to_half(-2.0f) == 0xC000, "whole halves");
  expect(dsa::to_half(65520.0f) == 0x7C00, "what is too large is infinite");
  expect(dsa::to_half(0x1p-25f) == 0 && dsa::to_half(0x1.8p-25f) == 1, "ties go to the even one");
  expect(dsa::to_half(std::numeric_limits<float>::quiet_NaN()) == 0x7E00, "NaN stays NaN");
}

void options() {
  const dsa_cli::Options made({"b.dsa", "--steps=3", "--json", "--labels", "a, b"},
                              {"steps", "labels"}, {"json"});
  expect(made.whole("steps", 0) == 3 && made.has("json") && made.plain().size() == 1, "options");
  expect(made.list("labels").size() == 2 && made.list("labels")[1] == " b", "lists keep spaces");
  expect(refused([] { dsa_cli::Options({"--nope"}, {}, {}); }), "unknown options are refused");
  expect(refused([] { dsa_cli::Options({"--n", "1x"}, {"n"}, {}).whole("n", 0); }),
         "1x is no number");
}

}  // namespace

int main() {
  hashes();
  texts();
  halves();
  options();
  return failures ? 1 : 0;
}
