// The border between C++ and C: no exception crosses it, and texts change hands.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "core/errors.h"
#include "dsa/runner.h"

namespace dsa::border {

inline thread_local std::string last_error;

inline dsa_status status_of(Kind kind) {
  switch (kind) {
    case Kind::usage:
      return DSA_USAGE;
    case Kind::bundle:
      return DSA_BUNDLE;
    case Kind::adapter:
      return DSA_ADAPTER;
    case Kind::example:
      return DSA_EXAMPLE;
    case Kind::engine:
      return DSA_ENGINE;
    case Kind::budget:
      return DSA_BUDGET;
    case Kind::privacy:
      return DSA_PRIVACY;
    case Kind::store:
      return DSA_STORE;
    case Kind::damaged:
      return DSA_DAMAGED;
    case Kind::wrong_key:
      return DSA_WRONG_KEY;
    case Kind::tampered:
      return DSA_TAMPERED;
    case Kind::stopped:
      return DSA_STOPPED;
  }
  return DSA_INTERNAL;
}

// Runs a call; whatever it raises becomes a status and a sentence.
template <class Call>
dsa_status guarded(Call&& call) noexcept {
  try {
    last_error.clear();
    call();
    return DSA_OK;
  } catch (const Error& error) {
    last_error = error.what();
    return status_of(error.kind());
  } catch (const std::bad_alloc&) {
    last_error = "memory ran out: lower memory_mb, or close other programs.";
  } catch (const std::exception& error) {
    last_error = std::string("an unexpected failure (") + error.what() + "): please report it.";
  } catch (...) {
    last_error = "an unexpected failure: please report it.";
  }
  return DSA_INTERNAL;
}

inline std::string given(const char* value, const char* name) {
  if (!value) throw Error(Kind::usage, text(name, " is null, expected a text: give one."));
  return value;
}

inline std::string or_empty(const char* value) { return value ? value : ""; }

inline void put(const std::string& value, char** out) {
  if (!out) return;
  *out = static_cast<char*>(std::malloc(value.size() + 1));
  if (!*out) throw std::bad_alloc();
  std::memcpy(*out, value.c_str(), value.size() + 1);
}

// A caller's struct, of its own size, over what is usual for the rest.
template <class Options>
Options filled(const Options* from, Options usual) {
  if (from) std::memcpy(&usual, from, std::min(from->size, sizeof usual));
  return usual;
}

}  // namespace dsa::border
