// The errors of the runtime: those of learning, under this namespace's name.
#pragma once

#include "learn/errors.h"

namespace dsa {

using learn::Broken;
using learn::Error;
using learn::Kind;
using learn::text;

}  // namespace dsa
