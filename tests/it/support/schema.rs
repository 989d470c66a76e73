//! Holds JSON to the schemas of `/api/openapi.json`: as much of JSON Schema as that document uses. An
//! unknown keyword fails, so that no rule is passed over.

use serde_json::Value;

/// Fails where `value` is not as `schema` says; `document` resolves references.
pub(crate) fn assert_conforms(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Err(why) = check(document, schema, value, place) {
        panic!("{why}");
    }
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let is_kept = match keyword.as_str() {
            "description" | "default" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = document.pointer(pointer).unwrap_or_else(|| panic!("{rule} leads nowhere"));
                check(document, target, value, place)?;
                true
            }
            "type" => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is_a(value, kind)),
                kind => is_a(value, kind),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
            // The one pattern there is.
            "pattern" => {
                assert_eq!(rule, "^[0-9a-f]{16}$");
                let text = value.as_str().unwrap();
                text.len() == 16 && text.chars().all(|letter| letter.is_ascii_hexdigit())
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, rule, item, &format!("{place}[{index}]"))?;
                }
                true
            }
            "oneOf" => {
                let fits = |choice: &&Value| check(document, choice, value, place).is_ok();
                rule.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "required" => match value.as_object() {
                Some(fields) => {
                    rule.as_array().unwrap().iter().all(|name| fields.contains_key(name.as_str().unwrap()))
                }
                None => true,
            },
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        check(document, schema, field, &format!("{place}.{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let fields = value.as_object().into_iter().flatten();
                for (name, field) in
                    fields.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
                {
                    if *rule == Value::Bool(false) {
                        return Err(format!("{place}.{name} is not described"));
                    }
                    check(document, rule, field, &format!("{place}.{name}"))?;
                }
                true
            }
            unknown => panic!("{unknown}: a keyword that this check does not know"),
        };
        if !is_kept {
            return Err(format!("{place}: {value} breaks {keyword}: {rule}"));
        }
    }
    Ok(())
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}
