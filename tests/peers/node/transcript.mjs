// What a client saw, one JSON line each, for the test to judge.
export function tell(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}
