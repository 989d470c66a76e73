//! Sessions: created once, joined by many, ended once (spec 4).
//!
//! Reading order: [`Session`] is what a session's task and its clients share; [`registry`] finds or
//! makes one; `task` lives its life; [`Reader`] is one client's place in it. Knows no hyper server
//! and writes no SSE syntax: that is `proto`'s.

mod advice;
mod audience;
mod budget;
mod catching_up;
mod dismissal;
mod greeting;
mod head;
mod joining;
mod keeping;
mod memory;
mod permit;
mod reader;
pub mod registry;
mod roster;
mod shared;
mod sync;
mod task;
mod view;
mod visit;
mod vouchers;
mod watched;

pub use advice::Advice;
pub use dismissal::{DismissReason, Dismissal};
pub use head::Head;
pub use joining::{Joining, Welcome};
pub use permit::{ClientLimits, ClientPermit};
pub use reader::{Looked, Next, NextFramed, Pack, Reader};
pub use registry::{IfAbsent, JoinRequest, Parts, Refusal, Registry};
pub use shared::{Phase, Session, SessionState};
pub use view::{Attempts, ClientView, Lag, LastError};
