//! Real faults around the real program: signals, network namespaces, packet filters, limits of the
//! system, a false clock. `scripts/setup-faults` installs the tools; namespaces and packet filters need
//! root. What can't be tried on a machine fails by its name, unless `SSECAR_FAULTS_ALLOW_MISSING` has it.
//!
//! | module | stories |
//! |---|---|
//! | `process` | the service killed, stopped; the clock set back |
//! | `network` | peers that vanish, loss and delay |
//! | `shortage` | no descriptors, a full queue, little memory and slow readers |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod network;
mod process;
mod reader;
mod rig;
mod shortage;

#[path = "../peers/support/mod.rs"]
#[allow(dead_code, reason = "the peers' harness, of which this needs a part")]
#[allow(unused_imports, reason = "the peers' harness, of which this needs a part")]
mod support;
