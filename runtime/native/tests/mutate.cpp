// Seeded mutations of given files, for compilers without libFuzzer.
//   mutate SEED COUNT FILE...
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

const char* const kWords[] = {"0", "-1", "1e999", "18446744073709551616", "null", "[]", "{}", "\"\"",
                              "[[[[", "\\u0000", "../", "true", "2147483648", "\xff", "9"};

void mutate(std::string& content, std::mt19937_64& random) {
  const auto below = [&](size_t most) { return most ? random() % most : 0; };
  const size_t at = below(content.size() + 1), length = below(16) + 1;
  switch (random() % 5) {
    case 0:
      if (at < content.size()) content[at] = static_cast<char>(content[at] ^ (1 << random() % 8));
      break;
    case 1:
      content.erase(at, length);
      break;
    case 2:
      content.insert(at, kWords[below(std::size(kWords))]);
      break;
    case 3:
      content.insert(at, content.substr(below(content.size()), length));
      break;
    default: {  // another number
      const size_t digit = content.find_first_of("0123456789", at);
      if (digit != std::string::npos) content.replace(digit, 1, kWords[below(std::size(kWords))]);
    }
  }
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) return 2;
  std::vector<std::string> seeds;
  for (int at = 3; at < count; ++at) {
    std::ifstream file(words[at], std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::mt19937_64 random(std::strtoull(words[1], nullptr, 10));
  const long times = std::atol(words[2]);
  for (long time = 0; time < times; ++time) {
    std::string content = seeds[random() % seeds.size()];
    for (size_t change = random() % 6 + 1; change > 0; --change) mutate(content, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(content.data()), content.size());
  }
  std::printf("%ld inputs\n", times);
  return 0;
}
