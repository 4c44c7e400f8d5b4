// JSON of files, as learning reads and writes it.
#pragma once

#include "core/errors.h"
#include "learn/json.h"

namespace dsa {

using learn::Json;
using learn::object_of;
using learn::written;

}  // namespace dsa
