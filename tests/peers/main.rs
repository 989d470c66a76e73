//! ssecar between real peers: nginx with nchan, sse-starlette and Node.js as services; curl, npm's
//! `eventsource` and `eventsource-parser`, `ws` and Chromium as clients. `scripts/setup-peers` installs them.
//!
//! | module | stories |
//! |---|---|
//! | `reconnects` | clients cut off, ssecar restarted, the service restarted, while events flow |
//! | `cold_start` | a thousand clients of a cold session |
//! | `formats` | the API's description and the metrics, held to their formats by others |
//! | `greeting` | a service that greets each connection, and what late clients get |
//! | `page` | the admin page in Chromium: rendered, clicked, by keyboard, behind a token, with many clients |
//! | `spans` | spans as OpenTelemetry's own definitions read them |
//! | `pass_through` | a WebSocket, a gibibyte each way, `HEAD`, with flat memory |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod cold_start;
mod formats;
mod greeting;
mod page;
mod pass_through;
mod reconnects;
mod spans;
mod support;
