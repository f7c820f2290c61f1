//! Takes out of a value what differs between events that belong together.

/// What is taken out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds {
    /// UUIDs, and words of 8 and more hexadecimal digits, at least one of them 0 to 9: `*`.
    pub ids: bool,
    /// The ends that Kubernetes gives to pods, `-7d9f8b6c5-x2x7k` and `-x2x7k`: `-*`.
    pub pods: bool,
    /// Runs of decimal digits: `#`. IPv4 addresses are left whole.
    pub numbers: bool,
    /// IPv4 addresses: `*`.
    pub ips: bool,
}

/// The letters and digits that Kubernetes makes random names of: no vowels, so that no words come about.
const POD_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Writes the value to the end of `key`. `|` and `\` get a `\` before them, so that no value can pass for two parts.
pub fn write(value: &str, kinds: Kinds, key: &mut String) {
    let base = if kinds.pods { without_pod_hash(value) } else { value };
    let mut rest = base;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphanumeric() { write_word(rest, kinds, key) } else { write_other(first, key) };
        rest = &rest[length..];
    }
    if base.len() < value.len() {
        key.push_str("-*");
    }
}

fn write_other(character: char, key: &mut String) -> usize {
    match character {
        '|' | '\\' => key.extend(['\\', character]),
        _ if character.is_control() => key.push(' '),
        _ => key.push(character),
    }
    character.len_utf8()
}

/// Writes the word, id or address at the start of `text`, and says how long it was.
fn write_word(text: &str, kinds: Kinds, key: &mut String) -> usize {
    let bytes = text.as_bytes();
    if kinds.ids && is_uuid(bytes) {
        key.push('*');
        return 36;
    }
    if (kinds.ips || kinds.numbers)
        && let Some(length) = ipv4_length(bytes)
    {
        key.push_str(if kinds.ips { "*" } else { &text[..length] });
        return length;
    }
    let length = word_length(bytes);
    let word = &text[..length];
    if kinds.ids && is_id(word.as_bytes()) {
        key.push('*');
    } else if kinds.numbers {
        write_without_numbers(word, key);
    } else {
        key.push_str(word);
    }
    length
}

fn write_without_numbers(word: &str, key: &mut String) {
    let mut in_number = false;
    for character in word.chars() {
        let is_digit = character.is_ascii_digit();
        if !is_digit {
            key.push(character);
        } else if !in_number {
            key.push('#');
        }
        in_number = is_digit;
    }
}

fn word_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(bytes.len())
}

fn is_id(word: &[u8]) -> bool {
    word.len() >= 8 && word.iter().all(u8::is_ascii_hexdigit) && word.iter().any(u8::is_ascii_digit)
}

fn is_uuid(bytes: &[u8]) -> bool {
    let is_end = bytes.get(36).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    is_end
        && bytes.len() >= 36
        && bytes[..36].iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn ipv4_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for part in 0..4 {
        if part > 0 {
            length += 1;
        }
        let digits = bytes[length..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        length += digits;
        if part < 3 && bytes.get(length) != Some(&b'.') {
            return None;
        }
    }
    let next = bytes.get(length);
    next.is_none_or(|byte| !byte.is_ascii_alphanumeric()).then_some(length)
}

/// The pod's name without its random end; the whole value if it has none.
fn without_pod_hash(value: &str) -> &str {
    let is_random = |part: &str| part.bytes().all(|byte| POD_ALPHABET.contains(&byte));
    let Some((base, last)) = value.rsplit_once('-') else { return value };
    if last.len() != 5 || !is_random(last) || base.is_empty() {
        return value;
    }
    match base.rsplit_once('-') {
        Some((base, set)) if (8..=10).contains(&set.len()) && is_random(set) && !base.is_empty() => base,
        // Of a daemon set or a job. Without a digit it may as well be a word.
        _ if last.bytes().any(|byte| byte.is_ascii_digit()) => base,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(value: &str) -> String {
        let mut key = String::new();
        write(value, Kinds { ids: true, pods: true, numbers: true, ips: true }, &mut key);
        key
    }

    fn only(value: &str, kinds: Kinds) -> String {
        let mut key = String::new();
        write(value, kinds, &mut key);
        key
    }

    #[test]
    fn each_kind() {
        assert_eq!(all("api-7d9f8b6c5-x2x7k"), "api-*");
        assert_eq!(all("node-exporter-x2x7k"), "node-exporter-*");
        assert_eq!(all("kube-proxy"), "kube-proxy");
        assert_eq!(all("db-0"), "db-#");
        assert_eq!(all("order 550e8400-e29b-41d4-a716-446655440000 failed"), "order * failed");
        assert_eq!(all("commit deadbeef42"), "commit *");
        assert_eq!(all("facade defaced"), "facade defaced");
        assert_eq!(all("10.0.0.1:9100"), "*:#");
        assert_eq!(all("v1.2.3"), "v#.#.#");
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        assert_eq!(only("web-1 10.0.0.1", Kinds::default()), "web-1 10.0.0.1");
        assert_eq!(only("web-1 10.0.0.1", Kinds { numbers: true, ..Kinds::default() }), "web-# 10.0.0.1");
        assert_eq!(only("a-7d9f8b6c5-x2x7k", Kinds { ids: true, ..Kinds::default() }), "a-*-x2x7k");
    }

    #[test]
    fn parts_cannot_be_forged() {
        assert_eq!(all("a|host=b"), "a\\|host=b");
        assert_eq!(all("a\\"), "a\\\\");
        assert_eq!(all("a\nb"), "a b");
        assert_eq!(all("数据库-1"), "数据库-#");
    }

    #[test]
    fn odd_addresses_are_numbers() {
        assert_eq!(all("1.2.3"), "#.#.#");
        assert_eq!(all("1.2.3.4.5"), "*.#");
        assert_eq!(all("1.2.3.4x"), "#.#.#.#x");
        assert_eq!(all("1234.1.1.1"), "#.#.#.#");
        assert_eq!(all(""), "");
    }
}
