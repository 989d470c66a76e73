"""Asks the admin API by requests made up from its description, right and wrong ones (conform.py ADMIN TOKEN): each is
accepted or refused as the description says, and each answer is as it says, too."""

import sys

from schemathesis.cli import schemathesis

admin, token = sys.argv[1:]

# Streams don't end, and a session that was ended leaves nothing to ask for: `tests/it/admin.rs` has these.
left_out = ["--exclude-path=/api/stream", "--exclude-path=/api/sessions/{session}/tail", "--exclude-method=DELETE"]
once_and_again = ["--generation-deterministic", "--no-color", "--warnings=off"]
schemathesis(
    ["run", f"{admin}/api/openapi.json", f"--header=Authorization: Bearer {token}", "--checks=all"]
    + ["--max-examples=15", "--request-timeout=20"]
    + left_out
    + once_and_again
)
