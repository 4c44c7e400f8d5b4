"""`dsa-edge generate`: continue a prompt."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dsa_edge.cli._common import (
    add_memory,
    add_store,
    emit,
    memory_of,
    open_personalizer,
    parser,
)

__all__ = ["main"]

EXAMPLES = """\
  dsa-edge generate smol.dsa --prompt 'The capital of France is'
  dsa-edge generate smol.dsa --store me/ --prompt 'Dear team,' \\
      --max-tokens 80 --temperature 0.7 --top-p 0.9
  dsa-edge generate smol.dsa --chat --prompt 'Name three rivers.'"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("generate", "Continue a prompt, printing text as it comes.", EXAMPLES)
    add_store(made)
    made.add_argument("--prompt", required=True, help="text to continue")
    made.add_argument(
        "--chat", action="store_true", help="send the prompt as a user's chat message"
    )
    made.add_argument("--max-tokens", type=int, default=40, help="tokens at most (default: 40)")
    made.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default: 0)")
    made.add_argument("--top-p", type=float, default=1.0, help="probability mass kept (default: 1)")
    made.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    add_memory(made)
    arguments = made.parse_args(argv)
    from dsa_edge.runtime import Sampling

    sampling = Sampling(arguments.temperature, arguments.top_p, arguments.seed)
    pieces = []
    with open_personalizer(arguments) as me:
        prompt = arguments.prompt
        if arguments.chat:
            prompt = me.chat([{"role": "user", "content": prompt}])
        started = time.perf_counter()
        budget = memory_of(arguments)
        for piece in me.stream(prompt, arguments.max_tokens, sampling, budget=budget):
            pieces.append(piece)
            if not arguments.json:
                print(piece, end="", flush=True)
        facts = {"version": me.version, **me.engine}
    seconds = time.perf_counter() - started
    emit(arguments, {"text": "".join(pieces), "seconds": seconds, **facts}, "")
    return 0
