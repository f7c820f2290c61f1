//! Tables read from text, and their one form.

use super::*;

fn row(table: &Table, columns: &[&str], key: &str) -> Option<Vec<String>> {
    let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
    let view = table.view(&columns).unwrap();
    table.get(&view, key).map(|row| row.map(str::to_owned).collect())
}

/// Reproducible numbers below `below`.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        (1..all.len()).for_each(|at| all.swap(at, self.below(at + 1)));
    }

    /// Text of signs that mean something to CSV or JSON.
    fn text(&mut self, chars_max: usize) -> String {
        const SIGNS: [char; 14] = ['a', 'b', '"', ',', '\n', '\r', '\\', '{', '[', ' ', '\u{feff}', 'é', '\u{10ffff}', '\0'];
        (0..self.below(chars_max + 1)).map(|_| SIGNS[self.below(SIGNS.len())]).collect()
    }
}

fn csv_line(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
    format!("{}\n", cells.join(","))
}

#[test]
fn the_kept_form_has_the_key_first_and_reads_back() {
    let table = Table::parse(b"owner,host\n\"x,\ny\",h2\n\"a \"\"b\"\"\",h1\n", Some("host")).expect("a table");
    let csv = table.to_csv();
    assert_eq!(String::from_utf8_lossy(&csv), "\"host\",\"owner\"\n\"h1\",\"a \"\"b\"\"\"\n\"h2\",\"x,\ny\"\n");
    let again = Table::parse(&csv, None).expect("its own form");
    assert_eq!((row(&again, &["owner"], "h2"), again.to_csv()), (Some(vec!["x,\ny".to_owned()]), csv));
    assert_eq!(again.row("h1"), Some(vec![("host", "h1"), ("owner", "a \"b\"")]));
    assert_eq!(again.row("h3"), None);
}

#[test]
fn rows_in_another_order_are_the_same_table() {
    let mut numbers = Numbers(7);
    let (mut tables, mut forms) = (0, 0);
    for _ in 0..400 {
        let width = 1 + numbers.below(5);
        let names: Vec<String> = (0..width).map(|at| format!("{}{at}", numbers.text(3))).collect();
        let key = numbers.below(width);
        let mut rows: Vec<Vec<String>> =
            (0..numbers.below(12)).map(|at| (0..width).map(|c| numbers.text(6) + if c == key { "!" } else { "" } + &at.to_string()).collect()).collect();
        let mut known: Option<Vec<u8>> = None;
        tables += 1;
        for _ in 0..6 {
            numbers.shuffle(&mut rows);
            let mut columns: Vec<usize> = (0..width).collect();
            numbers.shuffle(&mut columns);
            let of = |row: &[String]| -> Vec<String> { columns.iter().map(|c| row[*c].clone()).collect() };
            let text: Vec<String> = std::iter::once(of(&names))
                .chain(rows.iter().map(|row| of(row)))
                .map(|row| csv_line(&row.iter().map(String::as_str).collect::<Vec<_>>()))
                .collect();
            let objects: Vec<String> = rows
                .iter()
                .map(|row| {
                    let members: Vec<String> = columns.iter().map(|c| format!("{}:{}", serde_json::json!(names[*c]), serde_json::json!(row[*c]))).collect();
                    format!("{{{}}}", members.join(" , "))
                })
                .collect();
            let list = format!("[{}]", objects.join(",\n"));
            for text in [text.concat(), list, objects.join("\n")] {
                // No object says no columns, which a header does.
                if rows.is_empty() && !text.starts_with('"') {
                    continue;
                }
                // A text that begins with a mark of byte order loses it, also inside the quotes of nothing.
                let table = Table::parse(text.as_bytes(), Some(&names[key])).unwrap_or_else(|e| panic!("{e}: {text:?}"));
                forms += 1;
                let csv = table.to_csv();
                assert_eq!(*known.get_or_insert_with(|| csv.clone()), csv, "{text:?}");
                let again = Table::parse(&csv, None).expect("its own form");
                assert_eq!(again.to_csv(), csv);
                assert_eq!((again.len(), again.columns()[0].as_str()), (rows.len(), names[key].as_str()));
                for row in &rows {
                    let found = again.row(&row[key]).expect("each key is found");
                    assert!(found.iter().all(|(name, cell)| names.iter().position(|known| known == name).is_some_and(|at| row[at] == *cell)), "{found:?}");
                }
            }
        }
    }
    println!("tables: {tables} tables in {forms} orders and formats had one form each");
    assert!(forms > 5_000);
}

#[test]
fn other_content_is_another_table() {
    let forms = ["k,a\n1,x\n", "k,a\n1,y\n", "k,b\n1,x\n", "k,a\n2,x\n", "k,a\n1,x\n2,x\n", "a,k\n1,x\n", "k,a\n1,\n", "k,a\n", "k,a,b\n1,x,\n"];
    let csvs: std::collections::BTreeSet<Vec<u8>> = forms.iter().map(|text| Table::parse(text.as_bytes(), None).expect(text).to_csv()).collect();
    assert_eq!(csvs.len(), forms.len());
}

#[test]
fn csv_with_quotes_and_crlf() {
    let table = Table::parse(b"host,owner,note\r\nweb-1,\"Li, Na\",\"says \"\"hi\"\"\nthere\"\r\n\r\nweb-2,Bo,\r\n", None).unwrap();
    assert_eq!(table.len(), 2);
    assert_eq!(row(&table, &["note", "owner"], "web-1"), Some(vec!["says \"hi\"\nthere".into(), "Li, Na".into()]));
    assert_eq!(row(&table, &["owner", "note"], "web-2"), Some(vec!["Bo".into(), String::new()]));
    assert_eq!(row(&table, &["owner"], "web-3"), None);
    assert_eq!(Table::parse(b"host\r\nweb-1\r", None).unwrap().row("web-1"), Some(vec![("host", "web-1")]));
}

#[test]
fn json_list_and_lines_give_the_same_table() {
    for text in ["[{\"host\":\"a\",\"n\":1},{\"host\":\"b\",\"n\":null}]", "{\"host\":\"a\",\"n\":1}\n\n{\"host\":\"b\"}\n"] {
        let table = Table::parse(text.as_bytes(), Some("host")).unwrap();
        assert_eq!(row(&table, &["n"], "a"), Some(vec!["1".into()]), "{text}");
        assert_eq!(row(&table, &["n"], "b"), Some(vec![String::new()]), "{text}");
    }
}

#[test]
fn values_of_json_stay_as_they_are_written() {
    let text = r#"[{"k":"a","n":18446744073709551616,"f":1.0,"t":true,"o":{"b":[1,2],"a":"x"},"s":"\u00e9\"\n"}]"#;
    let table = Table::parse(text.as_bytes(), Some("k")).unwrap();
    let cells = row(&table, &["n", "f", "t", "o", "s"], "a").expect("the row");
    assert_eq!(cells, ["18446744073709551616", "1.0", "true", r#"{"a":"x","b":[1,2]}"#, "é\"\n"]);
}

#[test]
fn faults_name_their_line() {
    for (text, says) in [
        ("", "empty"),
        ("\u{feff} \n", "empty"),
        ("a,b\n1\n", "line 2: 1 cells, the header has 2"),
        ("a,b\n1,2,3\n", "line 2: 3 cells, the header has 2"),
        ("a,b\n2,2\n1,2\n1,3\n1,4\n", "line 4: key `1` is there twice"),
        ("a,a\n", "column `a` is there twice"),
        ("a\n\"x\n", "line 2: a quote is not closed"),
        ("a\n\"x\"y\n", "line 2: text after"),
        ("a,b\n,2\n", "line 2: the key has 0 bytes"),
        ("[{\"a\":1},{\"b\":1}]", "object 2: the key has 0 bytes"),
        ("[{\"a\":1,\"b\":1,\"a\":2}]", "object 1: member `a` is there twice"),
        ("{\"a\":1,\"\\u0061\":2}", "line 1: member `a` is there twice"),
        ("{\"a\":\"\\ud800\"}", "line 1: member `a` cannot be read"),
        ("[]", "no object"),
        ("[{}]", "0 columns"),
        ("[{\"a\":1}", "wanted is a list of objects"),
        ("[{\"a\":1}] x", "wanted is a list of objects"),
        ("[[1]]", "wanted is a list of objects"),
        ("[{\"a\":01}]", "wanted is a list of objects"),
        ("{\"a\":1}\n[1]\n", "line 2: wanted is one object a line"),
        ("{\"a\":1} {\"a\":2}", "line 1: wanted is one object a line"),
    ] {
        let why = Table::parse(text.as_bytes(), None).err().map(|why| why.to_string()).unwrap_or_default();
        assert!(why.contains(says), "{text:?} -> {why}");
    }
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let wide: String = (0..=COLUMNS_MAX).map(|n| format!("c{n},")).collect();
    let many = format!("{{{}}}", (0..=COLUMNS_MAX).map(|n| format!("\"c{n}\":1")).collect::<Vec<_>>().join(","));
    let long = format!("a\n{}\n", "x".repeat(KEY_BYTES_MAX + 1));
    for text in [deep.as_bytes(), wide.as_bytes(), many.as_bytes(), long.as_bytes(), b"\xff", b"a\n\xc0\xaf\n", b"\xff\xfea\0"] {
        assert!(matches!(Table::parse(text, None), Err(TableRefusal::Invalid(_))), "{:?}", String::from_utf8_lossy(&text[..text.len().min(40)]));
    }
    assert!(Table::parse(b"a\n1\n", Some("b")).is_err());
}

#[test]
fn any_bytes_are_a_table_or_a_refusal_and_what_is_cut_is_no_other_table() {
    let whole = b"[{\"host\":\"a\\u00e9\",\"owner\":\"x\"},{\"owner\":\"y\",\"host\":\"b\"}]";
    for cut in 0..whole.len() {
        assert!(Table::parse(&whole[..cut], Some("host")).is_err(), "{cut}");
    }
    let mut numbers = Numbers(11);
    let mut taken = 0;
    for seed in
        ["host,owner\n\"a\",\"x \"\"y\"\"\"\nb,\r\n", "[{\"host\":\"a\",\"owner\":[1,{\"z\":null}]}]", "{\"host\":\"a\"}\n{\"host\":\"b\",\"owner\":1e9}\n"]
    {
        for _ in 0..3_000 {
            let mut bytes = seed.as_bytes().to_vec();
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(bytes.len());
                bytes[at] = numbers.below(256) as u8;
            }
            if let Ok(table) = Table::parse(&bytes, None) {
                taken += 1;
                let csv = table.to_csv();
                assert_eq!(Table::parse(&csv, None).map(|again| again.to_csv()), Ok(csv), "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }
    println!("tables: 9000 spoiled contents, {taken} of them tables of their own");
    assert!(taken > 100);
}

#[test]
fn limits_are_counted_while_it_is_read() {
    let limits = |rows_max, bytes_max| TableLimits { rows_max, bytes_max };
    let csv: String = std::iter::once("k,v\n".to_owned()).chain((0..100).map(|n| format!("{n},x\n"))).collect();
    let json = format!("[{}]", (0..100).map(|n| format!("{{\"k\":{n},\"v\":\"x\"}}")).collect::<Vec<_>>().join(","));
    for text in [csv.as_str(), json.as_str()] {
        let read = |limits| Table::read(text.as_bytes(), Some("k"), None, limits);
        let bytes = read(limits(100, usize::MAX)).expect("as many as may be").bytes();
        assert_eq!(read(limits(100, bytes)).expect("as large as may be").len(), 100);
        assert!(matches!(read(limits(99, bytes)), Err(TableRefusal::TooLarge(why)) if why.contains("99 rows")));
        assert!(matches!(read(limits(100, bytes - 1)), Err(TableRefusal::TooLarge(why)) if why.contains("size_max")));
        // What comes behind the limit is not even looked at.
        let spoiled = format!("{}\u{1}", &text[..text.len() - 1]);
        assert!(matches!(Table::read(spoiled.as_bytes(), Some("k"), None, limits(10, usize::MAX)), Err(TableRefusal::TooLarge(_))));
    }
}

#[test]
fn a_format_that_is_asked_for_must_be_there() {
    for (text, is) in [("a\n1\n", TableFormat::Csv), ("[{\"a\":1}]", TableFormat::Json), ("{\"a\":1}", TableFormat::Ndjson)] {
        for wanted in [TableFormat::Csv, TableFormat::Json, TableFormat::Ndjson] {
            let read = Table::read(text.as_bytes(), None, Some(wanted), TableLimits::NONE);
            assert_eq!(read.is_ok(), wanted == is, "{text} as {wanted:?}");
        }
    }
}

#[test]
fn an_unknown_column_is_an_error_that_lists_the_known() {
    let table = Table::parse(b"host,owner\na,b\n", None).unwrap();
    assert_eq!(table.view(&["nope".to_owned()]).err().unwrap(), "no column `nope`; there are host, owner");
    assert_eq!(table.view(&["owner", "host", "owner"].map(str::to_owned)).err().unwrap(), "column `owner` is asked for twice");
}
