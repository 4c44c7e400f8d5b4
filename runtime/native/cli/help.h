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
    "      [--seed N] [--remember] [--replay N]\n"
    "      [--estimator NAME] [--optimizer NAME] [--rate R] [--epsilon E] [--queries N] [--batch N]\n"
    "      [--subspace M] [--gate NAME] [--keep SHARE] [--settings JSON]\n"
    "      [--when charging,battery=PERCENT,celsius=MOST,idle=SHARE]\n"
    "      [--privacy E[,D]]                       differential privacy: epsilon, delta\n"
    "  plan BUNDLE --data FILE [--steps N]         what personalize would take\n"
    "  history BUNDLE | rollback BUNDLE --version N | forget BUNDLE [--examples ID,ID | --data FILE]\n"
    "  replay BUNDLE [--fit N] [--steps N] [--out FILE]   rebuild an adapter from its journal\n"
    "  save BUNDLE --out FILE | load BUNDLE --adapter FILE | rekey BUNDLE (--to KEY | --unseal)\n"
    "  tokens BUNDLE --prompt P                    token ids of a prompt\n"
    "  bench BUNDLE [--pass time|memory] [--prompt-tokens N] [--new-tokens N] [--lanes N]\n"
    "      [--batch N] [--warmup N] [--repeats N]  seconds of each kind of work, or peak memory\n"
    "  info BUNDLE | doctor [BUNDLE]               what is there, and what this machine can run\n\n"
    "  choose, generate and evaluate take --memory-mb M as well: long prompts then run in parts\n"
    "  everywhere: --json, --store DIR, --key KEY, --threads N, --layers-kept N,\n"
    "      --skip-hashes; choose, generate and evaluate: --version N\n"
    "  with --data: --template '{text} It was' --labels a,b for lines with text and label;\n"
    "      @FILE has the template\n"
    "  KEY: file:PATH, or passphrase with DSA_EDGE_PASSPHRASE (--to: DSA_EDGE_NEW_PASSPHRASE)\n\n"
    "exit codes: 0 done, 1 the work failed, 2 wrong use\n";

// Options that take a value: of every verb, and of those that learn.
inline constexpr char kEverywhere[] = "store key key-file threads layers-kept ";
inline constexpr char kLearning[] =
    "data template labels steps seconds memory-mb disk-mb seed settings rate epsilon queries batch "
    "estimator optimizer subspace gate keep replay privacy when battery celsius idle";
inline const std::vector<std::string> kFlags = {"json", "help", "remember", "charging", "chat",
                                                "skip-hashes", "unseal"};

}  // namespace dsa_cli
