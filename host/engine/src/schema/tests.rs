use super::*;
use serde_json::json;

/// Schema, config, what is said; nothing is said of what fits.
const ROWS: [(&str, &str, &str); 72] = [
    // Types.
    (r#"{"type":"object"}"#, r#"{}"#, ""),
    (r#"{"properties":{"a":{"type":"string"}}}"#, r#"{"a":"x"}"#, ""),
    (r#"{"properties":{"a":{"type":"string"}}}"#, r#"{"a":1}"#, "`config.a` is 1; allowed: a text"),
    (r#"{"properties":{"a":{"type":["string","null"]}}}"#, r#"{"a":null}"#, ""),
    (r#"{"properties":{"a":{"type":["string","null"]}}}"#, r#"{"a":true}"#, "`config.a` is true; allowed: a text or null"),
    (r#"{"properties":{"a":{"type":"integer"}}}"#, r#"{"a":1.0}"#, ""),
    (r#"{"properties":{"a":{"type":"integer"}}}"#, r#"{"a":1.5}"#, "`config.a` is 1.5; allowed: a whole number"),
    (r#"{"properties":{"a":{"type":"number"}}}"#, r#"{"a":1.5}"#, ""),
    (r#"{"properties":{"a":{"type":"boolean"}}}"#, r#"{"a":"true"}"#, "`config.a` is \"true\"; allowed: true or false"),
    (r#"{"properties":{"a":{"type":"array"}}}"#, r#"{"a":{}}"#, "`config.a` is an object; allowed: a list"),
    (r#"{"properties":{"a":{"type":"object"}}}"#, r#"{"a":[1]}"#, "`config.a` is a list of 1; allowed: an object"),
    // What is allowed.
    (r#"{"properties":{"a":{"enum":["x",1,null]}}}"#, r#"{"a":1.0}"#, ""),
    (r#"{"properties":{"a":{"enum":["x",1,null]}}}"#, r#"{"a":"1"}"#, "`config.a` is \"1\"; allowed: \"x\", 1, null"),
    (r#"{"properties":{"a":{"const":{"b":[1,2]}}}}"#, r#"{"a":{"b":[1,2]}}"#, ""),
    (r#"{"properties":{"a":{"const":{"b":[1,2]}}}}"#, r#"{"a":{"b":[2,1]}}"#, "`config.a` is an object; allowed: an object"),
    (r#"{"properties":{"a":{"enum":[1,2],"const":2}}}"#, r#"{"a":1}"#, "`config.a` is 1; allowed: 2"),
    (r#"{"properties":{"a":false}}"#, r#"{"a":1}"#, "`config.a` nothing is allowed here"),
    (r#"{"properties":{"a":true}}"#, r#"{"a":1}"#, ""),
    // Members.
    (r#"{"required":["a","b c"]}"#, r#"{"a":1}"#, "`config[\"b c\"]` is missing"),
    (r#"{"required":["a"]}"#, r#"null"#, "`config.a` is missing"),
    (r#"{"properties":{"places":{}},"additionalProperties":false}"#, r#"{"place":1}"#, "`config.place` is no known key; did you mean `places`?"),
    (r#"{"properties":{"a":{},"b":{}},"additionalProperties":false}"#, r#"{"zzzz":1}"#, "`config.zzzz` is no known key; known here: a, b"),
    (r#"{"additionalProperties":false}"#, r#"{"a":1}"#, "`config.a` is no known key; none is allowed here"),
    (r#"{"properties":{"a":{}},"additionalProperties":{"type":"integer"}}"#, r#"{"a":"x","b":2}"#, ""),
    (r#"{"properties":{"a":{}},"additionalProperties":{"type":"integer"}}"#, r#"{"b":"x"}"#, "`config.b` is \"x\"; allowed: a whole number"),
    (r#"{"propertyNames":{"maxLength":2}}"#, r#"{"ab":1}"#, ""),
    (r#"{"propertyNames":{"maxLength":2}}"#, r#"{"abc":1}"#, "`config.abc` its name has 3 characters; allowed: 2 characters or fewer"),
    (r#"{"minProperties":1}"#, r#"{}"#, "`config` has 0 members; allowed: 1 member or more"),
    (r#"{"maxProperties":1}"#, r#"{"a":1,"b":1}"#, "`config` has 2 members; allowed: 1 member or fewer"),
    // Entries.
    (r#"{"properties":{"a":{"items":{"type":"string"}}}}"#, r#"{"a":["x",2]}"#, "`config.a[1]` is 2; allowed: a text"),
    (r#"{"properties":{"a":{"prefixItems":[{"const":1}],"items":{"const":2}}}}"#, r#"{"a":[1,2,2]}"#, ""),
    (r#"{"properties":{"a":{"prefixItems":[{"const":1}],"items":false}}}"#, r#"{"a":[1,2]}"#, "`config.a[1]` nothing is allowed here"),
    (r#"{"properties":{"a":{"minItems":1}}}"#, r#"{"a":[]}"#, "`config.a` has 0 entries; allowed: 1 entry or more"),
    (r#"{"properties":{"a":{"maxItems":2}}}"#, r#"{"a":[1,2,3]}"#, "`config.a` has 3 entries; allowed: 2 entries or fewer"),
    (r#"{"properties":{"a":{"uniqueItems":true}}}"#, r#"{"a":[1,"1"]}"#, ""),
    (r#"{"properties":{"a":{"uniqueItems":true}}}"#, r#"{"a":[1,"1",1.0]}"#, "`config.a[2]` is 1.0, which is there before; each may be there once"),
    (r#"{"properties":{"set":{"items":{"properties":{"tier":{"enum":[1,2]}}}}}}"#, r#"{"set":[{},{},{"tier":3}]}"#, "`config.set[2].tier` is 3; allowed: 1, 2"),
    // Texts.
    (r#"{"properties":{"a":{"minLength":1}}}"#, r#"{"a":""}"#, "`config.a` has 0 characters; allowed: 1 character or more"),
    (r#"{"properties":{"a":{"maxLength":2}}}"#, r#"{"a":"üü"}"#, ""),
    (r#"{"properties":{"a":{"format":"ipv4"}}}"#, r#"{"a":"no address"}"#, ""),
    // Numbers.
    (r#"{"properties":{"a":{"minimum":1}}}"#, r#"{"a":1}"#, ""),
    (r#"{"properties":{"a":{"minimum":1}}}"#, r#"{"a":0.5}"#, "`config.a` is 0.5; allowed: 1 or more"),
    (r#"{"properties":{"a":{"maximum":3}}}"#, r#"{"a":18446744073709551615}"#, "`config.a` is 18446744073709551615; allowed: 3 or less"),
    (r#"{"properties":{"a":{"maximum":9007199254740992}}}"#, r#"{"a":9007199254740993}"#, "allowed: 9007199254740992 or less"),
    (r#"{"properties":{"a":{"exclusiveMinimum":0}}}"#, r#"{"a":0}"#, "`config.a` is 0; allowed: more than 0"),
    (r#"{"properties":{"a":{"exclusiveMaximum":1}}}"#, r#"{"a":1.0}"#, "`config.a` is 1.0; allowed: less than 1"),
    (r#"{"properties":{"a":{"multipleOf":5}}}"#, r#"{"a":-10}"#, ""),
    (r#"{"properties":{"a":{"multipleOf":5}}}"#, r#"{"a":7}"#, "`config.a` is 7; allowed: multiples of 5"),
    (r#"{"properties":{"a":{"minimum":1}}}"#, r#"{"a":"0"}"#, ""),
    // Several schemas for one value.
    (r##"{"$defs":{"n":{"type":"integer"}},"properties":{"a":{"$ref":"#/$defs/n"}}}"##, r#"{"a":"x"}"#, "`config.a` is \"x\"; allowed: a whole number"),
    (r##"{"definitions":{"n":{"minimum":2}},"properties":{"a":{"$ref":"#/definitions/n","maximum":3}}}"##, r#"{"a":4}"#, "allowed: 3 or less"),
    (r##"{"definitions":{"n":{"minimum":2}},"properties":{"a":{"$ref":"#/definitions/n","maximum":3}}}"##, r#"{"a":1}"#, "allowed: 2 or more"),
    (r##"{"properties":{"in":{"$ref":"#"}},"additionalProperties":false}"##, r#"{"in":{"in":{"in":{}}}}"#, ""),
    (
        r##"{"properties":{"in":{"$ref":"#"}},"additionalProperties":false}"##,
        r#"{"in":{"in":{"on":{}}}}"#,
        "`config.in.in.on` is no known key; did you mean `in`?",
    ),
    (r#"{"properties":{"a":{"allOf":[{"minimum":1},{"maximum":3}]}}}"#, r#"{"a":4}"#, "allowed: 3 or less"),
    (r#"{"properties":{"a":{"anyOf":[{"type":"string"},{"type":"integer"}]}}}"#, r#"{"a":1}"#, ""),
    (r#"{"properties":{"a":{"anyOf":[{"type":"string"},{"properties":{"b":{"type":"null"}}}]}}}"#, r#"{"a":{"b":1}}"#, "`config.a.b` is 1; allowed: null"),
    (r#"{"properties":{"a":{"oneOf":[{"minimum":1},{"maximum":3}]}}}"#, r#"{"a":0}"#, ""),
    (r#"{"properties":{"a":{"oneOf":[{"minimum":1},{"maximum":3}]}}}"#, r#"{"a":2}"#, "`config.a` is 2, which fits 2 forms where it may fit only one"),
    (r#"{"properties":{"a":{"oneOf":[{"type":"null"},{"type":"boolean"}]}}}"#, r#"{"a":2}"#, "`config.a` is 2; allowed: null"),
    (r#"{"properties":{"a":{"not":{"const":"root"}}}}"#, r#"{"a":"root"}"#, "`config.a` is \"root\", which is ruled out"),
    (r#"{"properties":{"a":{"not":{"const":"root"}}}}"#, r#"{"a":"web"}"#, ""),
    (r#"{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}"#, r#"{"a":1}"#, "`config.b` is missing"),
    (r#"{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}"#, r#"{"b":1}"#, "`config.c` is missing"),
    (r#"{"if":{"required":["a"]},"then":{"required":["b"]}}"#, r#"{}"#, ""),
    // Nothing at all.
    ("", r#"null"#, ""),
    ("", r#"{}"#, ""),
    ("", r#"{"a":1}"#, "the module takes no config"),
    ("{}", r#"{"a":{"b":[1,"x",null]}}"#, ""),
    // Several slips at once, and hostile names.
    (
        r#"{"properties":{"a":{"type":"string"},"b":{"type":"string"}}}"#,
        r#"{"a":1,"b":2}"#,
        "`config.a` is 1; allowed: a text; `config.b` is 2; allowed: a text",
    ),
    (r#"{"additionalProperties":{"type":"null"}}"#, r#"{"a\nb":1}"#, r#"`config["a\nb"]` is 1; allowed: null"#),
    (r#"{"x-order":["a"],"$comment":"all of these say nothing","title":"t","examples":[1],"default":{"a":1}}"#, r#"{}"#, ""),
];

#[test]
fn config_is_held_to_the_schema() {
    for (schema, config, says) in ROWS {
        let value: Value = serde_json::from_str(config).expect("JSON");
        let parsed = Schema::parse(schema).unwrap_or_else(|why| panic!("{schema}: {why}"));
        match parsed.check(&value) {
            Ok(()) => assert_eq!(says, "", "{schema} took {config}"),
            Err(why) => assert!(!says.is_empty() && why.contains(says), "{schema} of {config}: {why}"),
        }
    }
}

#[test]
fn a_schema_that_cannot_be_checked_is_refused() {
    for (schema, says) in [
        (r#"{"properties":{"a":{"pattern":"^x"}}}"#, "properties.a uses the keyword \"pattern\", which this host does not check"),
        (r#"{"patternProperties":{}}"#, "it uses the keyword \"patternProperties\""),
        (r#"{"unevaluatedProperties":false}"#, "unevaluatedProperties"),
        (r#"{"items":{"contains":{}}}"#, "items uses the keyword \"contains\""),
        (r#"{"$id":"here"}"#, "$id"),
        (r#"{"$ref":"https://example.com/schema"}"#, "$ref can be `#` or `#/$defs/NAME` only; other documents are not fetched"),
        (r##"{"$ref":"#/properties/a"}"##, "$ref can be"),
        (r##"{"properties":{"a":{"$ref":"#/$defs/none"}}}"##, "`$ref` names \"#/$defs/none\", which is not there"),
        (r##"{"anyOf":[{"not":{"$ref":"#/$defs/none"}}]}"##, "which is not there"),
        (r##"{"if":true,"then":{"$ref":"#/$defs/none"}}"##, "which is not there"),
        (r#"{"properties":{"a":{"$defs":{}}}}"#, "has to stand at the top"),
        (r#"{"type":"text"}"#, "type has to be of null, boolean"),
        (r#"{"type":[]}"#, "type has to be of"),
        (r#"{"enum":[]}"#, "enum has to be a list with an entry"),
        (r#"{"items":[{}]}"#, "prefixItems"),
        (r#"{"minimum":"1"}"#, "minimum has to be a number"),
        (r#"{"exclusiveMinimum":true}"#, "exclusiveMinimum has to be a number"),
        (r#"{"minItems":-1}"#, "minItems has to be a whole number, 0 or more"),
        (r#"{"multipleOf":0.1}"#, "multipleOf has to be a whole number above 0"),
        (r#"{"multipleOf":0}"#, "multipleOf has to be a whole number above 0"),
        (r#"{"uniqueItems":"yes"}"#, "uniqueItems has to be true or false"),
        (r#"{"required":"a"}"#, "required has to be a list of texts"),
        (r#"{"properties":{"a":5}}"#, "properties.a has to be a schema"),
        (r#"{"properties":[]}"#, "properties has to be an object"),
        (r#"[]"#, "JSON but no object"),
        (r#"{"type":"#, "no JSON"),
    ] {
        let why = Schema::parse(schema).err().unwrap_or_else(|| panic!("{schema} was taken"));
        assert!(why.contains(says), "{schema}: {why}");
    }
    assert!(Schema::parse(&format!("{{\"title\":\"{}\"}}", "x".repeat(super::reading::SCHEMA_BYTES_MAX))).is_err_and(|why| why.contains("at most 65536")));
    let nested = (0..40).fold("{}".to_owned(), |inner, _| format!("{{\"items\":{inner}}}"));
    assert!(Schema::parse(&nested).is_err_and(|why| why.contains("deeper than 32 levels")));
}

#[test]
fn what_a_check_costs_is_bounded() {
    let wide = json!({ "a": (0..1_000).collect::<Vec<u32>>() });
    let deep = (0..100).fold(json!({}), |inner, _| json!({ "in": inner }));
    for (schema, config) in [
        // To itself without an end, with nothing read on the way; by twos.
        (r##"{"$ref":"#"}"##, json!({ "a": 1 })),
        (r##"{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}"##, json!({ "a": 1 })),
        (r##"{"allOf":[{"not":{"$ref":"#"}},{"not":{"$ref":"#"}}]}"##, json!({ "a": 1 })),
        (r##"{"properties":{"in":{"$ref":"#"}}}"##, deep),
        (r#"{"properties":{"a":{"uniqueItems":true}}}"#, wide),
    ] {
        let started = std::time::Instant::now();
        let why = Schema::parse(schema).expect(schema).check(&config).expect_err(schema);
        assert!(why.contains("cannot be checked in 100000 steps and 32 levels"), "{schema}: {why}");
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "{schema}: {:?}", started.elapsed());
    }
}

#[test]
fn what_is_said_is_bounded() {
    let schema = Schema::parse(r#"{"additionalProperties":{"type":"string"}}"#).expect("a schema");
    let many: serde_json::Map<String, Value> = (0..1_000).map(|i| (format!("{}{i}", "k".repeat(1_000)), json!(1))).collect();
    let why = schema.check(&Value::Object(many)).expect_err("numbers");
    assert!(why.ends_with("and 990 more") && why.len() < 4_096, "{}", why.len());
    let schema = Schema::parse(&json!({ "properties": { "a": { "enum": vec!["x".repeat(50); 1_000] } } }).to_string()).expect("a schema");
    let why = schema.check(&json!({ "a": "y".repeat(10_000) })).expect_err("another");
    assert!(why.len() < 1_024, "{}", why.len());
}

#[test]
fn the_shipped_rules_say_what_is_wrong_with_a_config() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules");
    for (rule, config, says) in [
        ("dedupe-by-tags", json!({ "by": ["alert_name", "hostname"] }), "`config.by[1]` is \"hostname\"; allowed: \"alert_name\", \"target\""),
        ("dedupe-by-tags", json!({ "by": [] }), "`config.by` has 0 entries; allowed: 1 entry or more"),
        ("dedupe-by-tags", json!({ "normalize": ["ids"] }), "`config.normalize` is no known key; did you mean `normalise`?"),
        ("owner-from-table", json!({ "lowercase": "yes" }), "`config.lowercase` is \"yes\"; allowed: true or false"),
        ("owner-from-table", json!({ "columns": { "onwer": "x" } }), "`config.columns.onwer` is no known key; did you mean `owner`?"),
        ("severity-by-labels", json!({ "words": { "page": 4 } }), "`config.words.page` is 4; allowed: 1, 2, 3"),
        (
            "severity-by-labels",
            json!({ "exceptions": [{ "tag": "env", "values": ["test"], "effect": { "set": 1, "at_most": 2 } }] }),
            "`config.exceptions[0].effect` has 2 members; allowed: 1 member or fewer",
        ),
        ("severity-by-labels", json!({ "exceptions": [{ "tag": "env", "values": ["test"] }] }), "`config.exceptions[0].effect` is missing"),
    ] {
        let text = std::fs::read_to_string(format!("{rules}/{rule}/config.schema.json")).expect("a schema");
        let schema = Schema::parse(&text).unwrap_or_else(|why| panic!("{rule}: {why}"));
        assert_eq!(schema.check(&Value::Null), Ok(()), "{rule} runs without a config");
        let why = schema.check(&config).expect_err("a wrong config");
        assert!(why.contains(says), "{rule}: {why}");
    }
}

/// `wit/README.md` tells authors which keywords there are.
#[test]
fn the_keywords_that_authors_are_told_of_are_those_that_are_checked() {
    let told = include_str!("../../../../wit/README.md");
    let (_, told) = told.split_once("it checks these keywords:").expect("the section");
    let (keywords, rest) = told.split_once("\n\nA `$ref`").expect("what follows");
    let in_backticks = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut keywords = in_backticks(keywords);
    let good = |keyword: &str| -> serde_json::Value {
        match keyword {
            "type" => json!("object"),
            "$ref" => json!("#"),
            "enum" | "required" => json!(["a"]),
            "const" => json!(1),
            "uniqueItems" => json!(true),
            "properties" | "$defs" | "definitions" => json!({ "a": {} }),
            "prefixItems" | "allOf" | "anyOf" | "oneOf" => json!([{}]),
            "additionalProperties" | "propertyNames" | "items" | "not" | "if" | "then" | "else" => json!({}),
            _ => json!(1),
        }
    };
    for keyword in &keywords {
        let schema = json!({ keyword.as_str(): good(keyword) }).to_string();
        assert!(Schema::parse(&schema).is_ok(), "{keyword}: {:?}", Schema::parse(&schema));
        // It is read, and no annotation: a value that it cannot have is refused.
        let wrong = json!({ "if": {}, keyword.as_str(): { "a": 7 } }).to_string();
        let is_annotation = super::reading::ANNOTATIONS.contains(&keyword.as_str());
        assert!(Schema::parse(&wrong).is_err() && !is_annotation || keyword == "const", "{keyword} is told to be checked");
    }
    keywords.sort();
    let count = keywords.len();
    keywords.dedup();
    assert_eq!((keywords.len(), count), (31, 31));
    let (annotations, _) = rest.split_once("names that begin").expect("what says nothing");
    let (_, annotations) = annotations.split_once("may be there:").expect("their list");
    let annotations: std::collections::BTreeSet<String> = in_backticks(annotations).into_iter().collect();
    assert_eq!(annotations, super::reading::ANNOTATIONS.map(str::to_owned).into());
    let all = "pattern patternProperties contains minContains maxContains dependentRequired dependentSchemas dependencies \
               unevaluatedItems unevaluatedProperties additionalItems $anchor $dynamicAnchor $dynamicRef $recursiveRef $id $vocabulary";
    for other in all.split_whitespace() {
        let refused = Schema::parse(&json!({ other: {} }).to_string()).expect_err(other);
        assert!(refused.contains(other) && refused.contains("this host does not check"), "{refused}");
    }
}
