use super::*;
use crate::event::hex;

fn json(text: &str) -> Value {
    Value::from_json(text.as_bytes()).unwrap()
}

fn md5(text: &str) -> String {
    hex(&count_md5(&json(text))).to_string()
}

/// Hashes that upstream makes (docs/semantics.md, Identity).
#[test]
fn hashes_are_upstreams() {
    for (name, value, expected) in [
        ("V1", r#"[100, "", "127.0.0.1", 2, "CPU usage high"]"#, "936eafa6dac0d420db79fcdf3bae8f15"),
        ("V2", r#"["disk full","HOST","10.0.0.1|0",2]"#, "69c2a8879b96690aa0ef93f3e75abcd5"),
        ("V3", r#"[2,"10.0.0.1|0","disk full","HOST"]"#, "69c2a8879b96690aa0ef93f3e75abcd5"),
        ("V4", r#"["disk full","HOST","10.0.0.1|0",2,"/data",null]"#, "0e95b03cf36c69577971f3c246543af3"),
        ("V5 null", "null", "6adf97f83acf6453d4a6a4b1070f3754"),
        ("V5 empty", r#""""#, "d41d8cd98f00b204e9800998ecf8427e"),
        ("V5 0", "0", "cfcd208495d565ef66e7dff9f98764da"),
        ("V5 true", "true", "f827cf462f62848df37c5e1e94a4da74"),
        ("V5 1.5", "1.5", "6008647277c4454cecd97d33c069f0ca"),
        ("V5 1e16", "1e16", "17ad58a7ab5201decb18b0996a327592"),
        ("V6", r#"["a","b"]"#, "d776bddcc880f6a8d49b77f60428166a"),
        ("V6", r#"["b","a"]"#, "d776bddcc880f6a8d49b77f60428166a"),
        ("V7", r#"{"b":1,"a":"x"}"#, "16e8adc18eeb24857eac60dd5479374c"),
        ("V8", "[]", "d751713988987e9331980363e24189ce"),
        ("V8", "{}", "d751713988987e9331980363e24189ce"),
        ("V9", r#"[["a","b"],{"k":null}]"#, "402d0575d0de2d74e90793fd2be891ec"),
        ("uid", r#"["p","e1","ABNORMAL",1700000000]"#, "e326907b6cc6b41abf4cd7d260bc2c7c"),
    ] {
        assert_eq!(md5(value), expected, "{name}");
    }
}

#[test]
fn kinds_of_scalars_hash_alike_and_bounds_of_integers_are_exact() {
    assert_eq!(md5("2"), md5("\"2\""));
    assert_eq!(md5("null"), md5("\"None\""));
    for text in ["0", "7", "-7", "9223372036854775807", "-9223372036854775808", "18446744073709551615"] {
        assert_eq!(md5(text), md5(&format!("\"{text}\"")), "{text}");
    }
}

#[test]
fn a_long_list_hashes_like_a_short_one_does() {
    // Computed by an independent program: 40 texts "0" to "39".
    let list = Value::List((0..40).map(Value::Int).collect());
    let backwards = Value::List((0..40).rev().map(Value::Int).collect());
    assert_eq!(count_md5(&list), count_md5(&backwards));
    assert_eq!(hex(&count_md5(&list)), LONG);
}
const LONG: &str = "9b7434ab1df11a5f1b9df0c02c14e6e1";

#[test]
fn floats_print_as_in_python() {
    for (float, expected) in [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.0, "0.0"),
        (0.1, "0.1"),
        (1.5, "1.5"),
        (100.0, "100.0"),
        (1e15, "1000000000000000.0"),
        (9999999999999998.0, "9999999999999998.0"),
        (1e16, "1e+16"),
        (1.5e16, "1.5e+16"),
        (123456789012345680.0, "1.2345678901234568e+17"),
        (1e22, "1e+22"),
        (1e100, "1e+100"),
        (f64::MAX, "1.7976931348623157e+308"),
        (0.0001, "0.0001"),
        (0.00012345, "0.00012345"),
        (0.00001, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (5e-324, "5e-324"),
        (-2.5e-10, "-2.5e-10"),
        (0.30000000000000004, "0.30000000000000004"),
        (f64::NAN, "nan"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        assert_eq!(repr_float(float), expected);
    }
}

#[test]
fn texts_parse_as_by_int() {
    for (text, expected) in [
        ("1", Some(1)),
        (" 2 ", Some(2)),
        ("\t\n\u{1c}3\u{a0}", Some(3)),
        ("+3", Some(3)),
        ("-1", Some(-1)),
        ("007", Some(7)),
        ("1_0", Some(10)),
        ("\u{662}", Some(2)),
        ("\u{ff11}\u{ff12}", Some(12)),
        ("99999999999999999999999", Some(i64::MAX)),
        ("-99999999999999999999999", Some(i64::MIN)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("", None),
        (" ", None),
        ("+", None),
        ("- 1", None),
        ("+-1", None),
        ("1__0", None),
        ("_1", None),
        ("1_", None),
        ("1.0", None),
        ("1e3", None),
        ("0x1", None),
        ("1 2", None),
        ("fatal", None),
        ("\u{b2}", None),
    ] {
        assert_eq!(parse_int(text), expected, "{text:?}");
    }
}

#[test]
fn values_become_integers_as_by_int() {
    for (value, expected) in [
        ("true", Some(1)),
        ("2.9", Some(2)),
        ("-0.2", Some(0)),
        ("1e300", Some(i64::MAX)),
        ("18446744073709551615", Some(i64::MAX)),
        ("null", None),
        ("[1]", None),
        ("{}", None),
    ] {
        assert_eq!(to_int(&json(value)), expected, "{value}");
    }
    assert_eq!(to_int(&Value::Float(f64::NAN)), None);
}

#[test]
fn lists_and_objects_print_as_in_python() {
    for (value, expected) in [
        (r#"["a", 1, 1.5, null, true, []]"#, "['a', 1, 1.5, None, True, []]"),
        (r#"{"k": {"n": "it's"}, "e": {}}"#, r#"{'k': {'n': "it's"}, 'e': {}}"#),
        (
            r#"["both ' and \" quotes", "\n\t\\", "\u0001\u007f\u0080", "\u200b\ue000\u0301\u00e9", "\ud83d\ude00"]"#,
            "['both \\' and \" quotes', '\\n\\t\\\\', '\\x01\\x7f\\x80', '\\u200b\\ue000\u{301}é', '😀']",
        ),
    ] {
        assert_eq!(text_of(&json(value)), expected);
    }
}

#[test]
fn json_texts_are_upstreams() {
    for (value, expected) in [
        (
            r#"{ "b": [1, 1.0, 1e16, 1e15, 1e-5, 0.0001, 1.5e-7, 1e100, 123456789.123], "a": {"n": null, "t": true, "e": {}, "l": []} }"#,
            r#"{"b":[1,1.0,1e+16,1000000000000000.0,1e-5,0.0001,1.5e-7,1e+100,123456789.123],"a":{"n":null,"t":true,"e":{},"l":[]}}"#,
        ),
        (
            r#"["\u00e9/<>&\u007f\u0001\b\f\n\r\t\"\\", "\ud83d\ude00\u2028"]"#,
            "[\"\\u00e9/<>&\u{7f}\\u0001\\b\\f\\n\\r\\t\\\"\\\\\",\"\\ud83d\\ude00\\u2028\"]",
        ),
    ] {
        assert_eq!(ujson(&json(value)), expected);
    }
}

#[test]
fn equality_goes_by_value() {
    for (a, b, expected) in [
        ("1", "1.0", true),
        ("true", "1", true),
        ("0", "false", true),
        ("\"1\"", "1", false),
        ("null", "null", true),
        ("null", "0", false),
        ("null", "\"\"", false),
        ("[1,[true]]", "[1.0,[1]]", true),
        ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true),
        ("{\"a\":1}", "{\"b\":1}", false),
        ("[]", "{}", false),
    ] {
        assert_eq!(equal(&json(a), &json(b)), expected, "{a} {b}");
    }
}

#[test]
fn cases_fold_as_in_python() {
    assert!(upper_is("clOsed", "CLOSED"));
    assert!(upper_is("clo\u{17f}ed", "CLOSED"), "the long s has S as its capital");
    assert!(!lower_is("Ho\u{17f}t", "host"));
    assert!(lower_is("\u{212a}ubernetes", "kubernetes"), "the Kelvin sign");
    assert!(!upper_is(" closed", "CLOSED"));
}
