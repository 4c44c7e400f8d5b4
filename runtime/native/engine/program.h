// ExecuTorch programs: loaded with their weights, run on plain arrays.
//
// Programs of a bundle run one after the other and share two arenas of activations, which they take
// in turn: what one returns lies in its arena until the one after the next runs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dsa {

enum class Type { f32, f16, i64, boolean };

// An input: shape of at most four axes, and the numbers, which are read where they lie.
struct Array {
  Type type;
  std::array<int32_t, 4> shape;
  int32_t axes;
  const void* data;
};

// An output, (rows, …) float32.
struct Output {
  const float* data;
  int64_t size;
};

class Program {
 public:
  ~Program();
  Program(Program&&) noexcept;

  // Raises Error(engine), naming what ran, such as "layer 3", and on how many rows.
  void run(const Array* inputs, size_t count, const char* what, int64_t number);
  Output output(size_t index) const;

 private:
  friend class Loader;
  struct State;
  explicit Program(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// What programs share: their files' structure, and the arenas.
class Loader {
 public:
  Loader();
  ~Loader();

  // A program with its weights, mapped from storage. turn: which of the two arenas it uses.
  // Raises Error(engine).
  std::unique_ptr<Program> load(const std::string& program, const std::string& data, int turn);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

// Names of those operators that this build does not have.
std::vector<std::string> missing_operators(const std::vector<std::string>& wanted);

// Whether the delegate that runs the products is there.
bool has_xnnpack();

// Keeps XNNPACK from finding packed weights by their names, for all programs of the process: layers
// are one program with other weights under the same names, and each would compute with the first
// one's. Off in the Linux wheels, on in Android's published library.
void keep_no_weights_by_name();

// Threads of the pool that all programs of a process share; 0 takes all cores. Returns how many.
int start_threads(int count);

}  // namespace dsa
