// What dsa_runner says of itself, and the options it knows.
#pragma once

#include <string>
#include <vector>

namespace dsa_cli {

inline constexpr char kHelp[] =
    "usage: dsa_runner VERB BUNDLE [options]\n\n"
    "  choose BUNDLE --prompt P --choices A,B      the likeliest of several continuations\n"
    "  generate BUNDLE --prompt P [--chat] [--max-tokens N] [--temperature T --top-p P --seed N]\n"
    "  evaluate BUNDLE --data FILE                 loss and accuracy on examples\n"
    "  personalize BUNDLE --data FILE [--steps N] [--seconds S] [--memory-mb M] [--disk-mb M]\n"
    "      [--seed N] [--settings JSON] [--remember] [--replay N]\n"
    "      [--charging] [--battery PERCENT] [--celsius C] [--idle SHARE]\n"
    "  plan BUNDLE --data FILE [--steps N]         what personalize would take\n"
    "  history BUNDLE | rollback BUNDLE --version N | forget BUNDLE [--examples ID,ID]\n"
    "  replay BUNDLE [--fit N] [--steps N] [--out FILE]   rebuild an adapter from its journal\n"
    "  save BUNDLE --out FILE | load BUNDLE --adapter FILE | rekey BUNDLE [--new-key-file FILE]\n"
    "  tokens BUNDLE --prompt P                    token ids of a prompt\n"
    "  bench BUNDLE [--pass time|memory] [--prompt-tokens N] [--new-tokens N] [--lanes N]\n"
    "      [--batch N] [--warmup N] [--repeats N]  seconds of each kind of work, or peak memory\n"
    "  info BUNDLE | doctor [BUNDLE]               what is there, and what this machine can run\n\n"
    "  choose, generate and evaluate take --memory-mb M as well: long prompts then run in parts\n"
    "  everywhere: --json, --store DIR, --key-file FILE, --threads N, --layers-kept N,\n"
    "      --skip-hashes, --version N\n"
    "  with --data: --template '{text} It was' --labels a,b for lines with text and label\n\n"
    "exit codes: 0 done, 1 the work failed, 2 wrong use\n";

inline const std::vector<std::string> kNames = {
    "prompt",   "choices", "max-tokens",   "temperature", "top-p",     "seed",     "data",
    "template", "labels",  "steps",        "seconds",     "memory-mb", "disk-mb",  "settings",
    "replay",   "battery", "celsius",      "idle",        "version",   "examples", "fit",
    "out",      "adapter", "new-key-file", "store",       "key-file",  "threads",  "layers-kept",
    "pass",     "prompt-tokens", "new-tokens", "lanes",   "batch",     "warmup",   "repeats",
    "backend"};
inline const std::vector<std::string> kFlags = {"json", "help", "remember", "charging", "chat",
                                                "skip-hashes"};

}  // namespace dsa_cli
