//! The Grafana dashboard: its form against Grafana's own model, its layout, its expressions, and whether they find anything.
//!
//! Grafana itself can't be installed where the tests run: nobody has looked at the picture.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::files::{accepts, file};

const DASHBOARD: &str = "deploy/grafana/dashboards/ssecar.json";

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

pub(crate) fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(file(DASHBOARD)).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

/// Each expression with the panel, or the annotation, that it is for.
pub(crate) fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let of = |title: &Value, expression: &Value| {
        (title.as_str().unwrap().to_owned(), expression.as_str().unwrap().to_owned())
    };
    let of_panels = panels(dashboard).iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| of(&panel["title"], &target["expr"]))
    });
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    of_panels
        .chain(annotations.iter().map(|annotation| of(&annotation["name"], &annotation["expr"])))
        .collect()
}

/// An expression with what Grafana would put in.
pub(crate) fn filled_in(expression: &str, window: &str) -> String {
    let filled = expression
        .replace("$__rate_interval", window)
        .replace("$__range", window)
        .replace("$job", "ssecar")
        .replace("$instance", ".*");
    assert!(!filled.contains('$'), "a variable that is not known: {filled}");
    filled
}

#[tokio::test]
async fn grafanas_own_model_knows_all_that_the_dashboard_says() {
    let python = file("target/deploy-venv/bin/python");
    accepts(Command::new(python).arg(file("tests/deploy/grafana_schema.py")).arg(file(DASHBOARD))).await;
}

#[test]
fn panels_have_ids_of_their_own_do_not_overlap_and_say_what_they_show() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    let runbook = std::fs::read_to_string(file("docs/runbook.md")).unwrap().to_lowercase();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id that another has");
        let [x, y, width, height] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(x + width <= COLUMNS, "{title}: too wide");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title}: lies on another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{title}: no description");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
        let targets = panel["targets"].as_array().unwrap();
        for place in targets.iter().chain([panel]) {
            assert_eq!(place["datasource"]["uid"], "${datasource}", "{title}: another data source");
        }
        for link in panel["links"].as_array().into_iter().flatten() {
            let anchor = link["url"].as_str().unwrap().strip_prefix("${runbook}#").expect(title);
            assert!(runbook.contains(&format!("\n## {anchor}\n")), "{title}: no such section: {anchor}");
        }
    }
    for (title, expression) in expressions(&dashboard) {
        let metrics = expression.matches("ssecar_").count() + expression.matches("process_").count();
        let selected = expression.matches("{job=~\"$job\",instance=~\"$instance\"").count();
        assert_eq!(metrics, selected, "{title}: {expression}: not of the chosen instances only");
    }
}

#[tokio::test]
async fn prometheus_can_read_every_expression() {
    let rules = expressions(&dashboard()).into_iter().enumerate().map(|(index, (_, expression))| {
        let expression = Value::String(filled_in(&expression, "1m"));
        format!("  - {{record: \"panel:{index}\", expr: {expression}}}\n")
    });
    let text = format!("groups:\n- name: dashboard\n  rules:\n{}", rules.collect::<String>());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard-rules.yml");
    std::fs::write(&path, text).unwrap();
    accepts(Command::new("promtool").args(["check", "rules"]).arg(path)).await;
}
