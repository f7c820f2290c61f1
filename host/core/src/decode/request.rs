//! A whole request body: where its items are, which are good, which are refused, which are repeats.
//!
//! Each item is parsed once, by the parse that also finds where it ends; only the end of an unreadable item is searched
//! for. Memory is bounded by the body and by the number of items: about 1 KiB each beside its texts.

use super::code::{Code, Refusal};
use super::{ITEM_BYTES_MAX, syntax, understand};
use crate::event::Status;
use crate::item::{Item, ItemField, ItemLimits, parse_item, parse_item_prefix};
use crate::record::Door;
use crate::value::Text;
use std::collections::HashSet;
use std::ops::Range;

/// Items of one request at most, good and refused together, unless configured otherwise.
pub const ITEMS_PER_REQUEST_MAX: usize = 100_000;

/// What the request says its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// One JSON object or one array of objects.
    Json,
    /// One JSON object a line; blank lines are skipped, CRLF and a missing last line end are fine.
    Ndjson,
}

/// What the body turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One object.
    Lone,
    /// An array.
    Array,
    /// Lines.
    Lines,
}

/// An item that can be journaled.
#[derive(Clone, Debug, PartialEq)]
pub struct GoodItem {
    /// Its fields, coerced.
    pub item: Item,
    /// Its own bytes in the body, from `{` to `}`; [`decode_item`](super::decode_item) of them gives the same item.
    pub bytes: Range<usize>,
    /// Its place in the request, from 0; NDJSON counts the lines that are not blank.
    pub index: u32,
}

/// A body whose items could be told apart. `received = good + refused + duplicates`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedRequest {
    /// What the body was.
    pub form: Form,
    /// Good items, in the order sent.
    pub good: Vec<GoodItem>,
    /// Refused items by their place in the request.
    pub refused: Vec<(u32, Refusal)>,
    /// Places of repeats within the request: the same bytes as an item before, or the same event_id, plugin_id, status and
    /// time when both event_id and time were sent.
    pub duplicates: Vec<u32>,
    /// Items in the request.
    pub received: u32,
}

/// Reads a whole body. `tenant` is that of the sender's token; more than `items_max` items are `too-many-items`. `Err` means
/// that nothing of the body is taken.
///
/// An array or lines with nothing but things that are no objects is refused as a whole with `shape`.
pub fn decode_request(door: Door, body: &[u8], kind: ContentKind, tenant: &str, items_max: usize) -> Result<DecodedRequest, Refusal> {
    // One byte order mark is a habit of some editors; a second one is refused as syntax.
    let start = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let start = syntax::skip_space(body, start);
    let Some(&first) = body.get(start) else {
        return Err(Refusal::whole(Code::Shape, "the body is empty; send an object, an array of objects, or NDJSON"));
    };
    let mut reader = Reader::new(door, body, tenant, items_max);
    match (kind, door, first) {
        (ContentKind::Ndjson, _, _) => reader.lines(start)?,
        (ContentKind::Json, _, b'[') => reader.array(start)?,
        (ContentKind::Json, Door::Events, b'{') => reader.lone(start)?,
        (ContentKind::Json, Door::Alertmanager, b'{') => {
            return Err(Refusal::whole(Code::Shape, "the body is an object; alerts are posted as an array"));
        }
        (_, _, b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            return Err(Refusal::whole(Code::Shape, "the body is a scalar; send an object, an array of objects, or NDJSON"));
        }
        _ => return Err(Refusal::whole(Code::Syntax, "the body is no JSON in UTF-8")),
    }
    reader.finish()
}

struct Reader<'a> {
    door: Door,
    body: &'a [u8],
    tenant: &'a str,
    items_max: usize,
    request: DecodedRequest,
    /// Bytes of good items without a time.
    seen_bytes: HashSet<&'a [u8]>,
    /// event_id, plugin_id, status and time of those with one.
    seen_keys: HashSet<(Text, Text, Text, i64)>,
    /// Refused as `shape`.
    shapeless: u32,
}

impl<'a> Reader<'a> {
    fn new(door: Door, body: &'a [u8], tenant: &'a str, items_max: usize) -> Reader<'a> {
        let request = DecodedRequest { form: Form::Lone, good: Vec::new(), refused: Vec::new(), duplicates: Vec::new(), received: 0 };
        Reader { door, body, tenant, items_max, request, seen_bytes: HashSet::new(), seen_keys: HashSet::new(), shapeless: 0 }
    }

    fn finish(self) -> Result<DecodedRequest, Refusal> {
        if self.request.received > 0 && self.shapeless == self.request.received {
            return Err(Refusal::whole(Code::Shape, "none of the items is an object; an event is a JSON object"));
        }
        Ok(self.request)
    }

    fn lone(&mut self, start: usize) -> Result<(), Refusal> {
        self.whole(syntax::trim(self.body, start..self.body.len()))
    }

    fn lines(&mut self, start: usize) -> Result<(), Refusal> {
        self.request.form = Form::Lines;
        let mut at = start;
        while at < self.body.len() {
            let line = self.body[at..].iter().position(|b| *b == b'\n').map_or(self.body.len(), |n| at + n);
            let text = syntax::trim(self.body, at..line);
            if !text.is_empty() {
                self.whole(text)?;
            }
            at = line + 1;
        }
        Ok(())
    }

    fn array(&mut self, open: usize) -> Result<(), Refusal> {
        self.request.form = Form::Array;
        let mut at = syntax::skip_space(self.body, open + 1);
        if self.body.get(at) != Some(&b']') {
            loop {
                at = self.element(at)?;
                at = syntax::skip_space(self.body, at);
                match self.body.get(at) {
                    Some(b',') => at = syntax::skip_space(self.body, at + 1),
                    Some(b']') => break,
                    _ => return Err(unreadable(at, "`,` or `]`")),
                }
            }
        }
        let after = syntax::skip_space(self.body, at + 1);
        if after < self.body.len() { Err(unreadable(after, "the end")) } else { Ok(()) }
    }

    /// Takes an item whose end is known.
    fn whole(&mut self, at: Range<usize>) -> Result<(), Refusal> {
        let bytes = &self.body[at.clone()];
        if bytes.len() > ITEM_BYTES_MAX {
            return self.refuse(Refusal::item_too_large(bytes.len()));
        }
        match parse_item(bytes, ItemLimits::STRICT) {
            Ok(item) => self.parsed(item, at),
            Err(error) => self.refuse(syntax::refusal(bytes, &error)),
        }
    }

    /// Takes the array element that begins at `at` and gives its end.
    fn element(&mut self, at: usize) -> Result<usize, Refusal> {
        let end = || syntax::element_end(self.body, at).ok_or_else(|| unreadable(at, "an element of the array that ends"));
        let first = self.body.get(at).copied().unwrap_or_default();
        if first != b'{' {
            if !matches!(first, b'"' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') {
                return Err(unreadable(at, "an element of the array"));
            }
            let end = end()?;
            self.refuse(Refusal::whole(Code::Shape, "an event is a JSON object"))?;
            return Ok(end);
        }
        let window = &self.body[at..self.body.len().min(at + ITEM_BYTES_MAX)];
        match parse_item_prefix(window, ItemLimits::STRICT) {
            Ok((item, bytes)) => {
                self.parsed(item, at..at + bytes)?;
                Ok(at + bytes)
            }
            Err(error) => {
                let end = end()?;
                let bytes = &self.body[at..end];
                let too_large = bytes.len() > ITEM_BYTES_MAX;
                self.refuse(if too_large { Refusal::item_too_large(bytes.len()) } else { syntax::refusal(bytes, &error) })?;
                Ok(end)
            }
        }
    }

    fn parsed(&mut self, item: Item, at: Range<usize>) -> Result<(), Refusal> {
        let bytes = &self.body[at.clone()];
        let item = match understand(self.door, item, bytes, self.tenant) {
            Ok(item) => item,
            Err(refusal) => return self.refuse(refusal),
        };
        let index = self.next_index()?;
        if self.is_repeat(&item, bytes) {
            self.request.duplicates.push(index);
        } else {
            self.request.good.push(GoodItem { item, bytes: at, index });
        }
        Ok(())
    }

    fn is_repeat(&mut self, item: &Item, bytes: &'a [u8]) -> bool {
        let text = |field, absent| Text::new(item.get(field).as_text().unwrap_or(absent));
        match item.get(ItemField::Time).as_int() {
            // Here decode has filled in an absent event_id from the bytes, so equal bytes are equal keys.
            Some(time) => {
                let status = text(ItemField::Status, Status::Abnormal.as_str());
                !self.seen_keys.insert((text(ItemField::EventId, ""), text(ItemField::PluginId, ""), status, time))
            }
            None => !self.seen_bytes.insert(bytes),
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.shapeless += u32::from(refusal.code == Code::Shape);
        let index = self.next_index()?;
        self.request.refused.push((index, refusal));
        Ok(())
    }

    fn next_index(&mut self) -> Result<u32, Refusal> {
        let index = self.request.received;
        if index as usize >= self.items_max {
            let why = format!("more than {} items in one request; send several requests", self.items_max);
            return Err(Refusal::whole(Code::TooManyItems, why));
        }
        self.request.received += 1;
        Ok(index)
    }
}

fn unreadable(at: usize, wanted: &str) -> Refusal {
    Refusal::whole(Code::Syntax, format!("not JSON at byte {at} of the body: {wanted} is missing"))
}
