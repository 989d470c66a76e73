//! What the admin listener answers is what others say that it must be: `openapi-spec-validator`, and
//! the parsers of Prometheus' own client library.

use crate::support::{Process, Ssecar, free_port, python};

#[tokio::test]
async fn the_description_and_the_metrics_are_valid() {
    let ssecar = Ssecar::start(free_port(), &[]).await;
    let mut command = python("validate.py");
    let (mut validator, mut lines) = Process::with_lines(command.arg(ssecar.admin_url("")));
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("valid"));
    assert!(validator.ended().await);
}
