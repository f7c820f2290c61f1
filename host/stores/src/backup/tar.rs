//! The little of the tar format that a backup needs: plain files with short names, in the order in which they come.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// Larger sizes are written as numbers of base 256, as GNU tar does.
const OCTAL_MAX: u64 = 0o777_7777_7777;

/// Writes files one after the other.
pub struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    /// Into this.
    pub fn new(out: W) -> TarWriter<W> {
        TarWriter { out }
    }

    /// Adds a file of `bytes` bytes, which `content` must give.
    pub fn file(&mut self, name: &str, bytes: u64, modified_s: u64, content: &mut dyn Read) -> io::Result<()> {
        self.out.write_all(&header(name, bytes, modified_s)?)?;
        let copied = io::copy(&mut content.take(bytes), &mut self.out)?;
        if copied != bytes {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} ends at byte {copied} of {bytes}")));
        }
        self.out.write_all(&[0; BLOCK][..padding(bytes)])
    }

    /// Ends the archive and gives back what it was written into.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn padding(bytes: u64) -> usize {
    (BLOCK - (bytes % BLOCK as u64) as usize) % BLOCK
}

fn header(name: &str, bytes: u64, modified_s: u64) -> io::Result<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too long a name"));
    header.get_mut(..100).and_then(|field| field.get_mut(..name.len())).ok_or_else(too_long)?.copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000600");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    if bytes <= OCTAL_MAX {
        header[124..135].copy_from_slice(format!("{bytes:011o}").as_bytes());
    } else {
        header[124] = 0x80;
        header[128..136].copy_from_slice(&bytes.to_be_bytes());
    }
    header[136..147].copy_from_slice(format!("{:011o}", modified_s.min(OCTAL_MAX)).as_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum = checksum(&header);
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

fn checksum(header: &[u8; BLOCK]) -> u32 {
    header.iter().enumerate().map(|(i, byte)| u32::from(if (148..156).contains(&i) { b' ' } else { *byte })).sum()
}

/// Reads an archive that [`TarWriter`] wrote, and nothing else: `take` gets name, size and content of each file, and must read
/// all of it.
pub fn read(mut from: impl Read, mut take: impl FnMut(&str, u64, &mut dyn Read) -> io::Result<()>) -> io::Result<()> {
    let mut block = [0; BLOCK];
    loop {
        from.read_exact(&mut block)?;
        if block == [0; BLOCK] {
            from.read_exact(&mut block)?;
            // Whatever follows is no part of it.
            let mut rest = [0; 1];
            return if block == [0; BLOCK] && from.read(&mut rest)? == 0 { Ok(()) } else { Err(bad("its end is followed by something else")) };
        }
        let (name, bytes, modified_s) = parse(&block)?;
        if header(&name, bytes, modified_s)? != block {
            return Err(bad(&format!("the head of {name:?} is damaged")));
        }
        let mut content = (&mut from).take(bytes);
        take(&name, bytes, &mut content)?;
        if content.limit() > 0 {
            return Err(bad(&format!("{name} ends early")));
        }
        let pad = &mut block[..padding(bytes)];
        from.read_exact(pad)?;
        if pad.iter().any(|byte| *byte != 0) {
            return Err(bad(&format!("the filling behind {name} is damaged")));
        }
    }
}

fn parse(block: &[u8; BLOCK]) -> io::Result<(String, u64, u64)> {
    let name = block[..100].split(|byte| *byte == 0).next().unwrap_or_default();
    let name = std::str::from_utf8(name).map_err(|_| bad("a name is no text"))?;
    let octal = |field: &[u8]| {
        let text = std::str::from_utf8(field).ok().map(|text| text.trim_end_matches(['\0', ' ']));
        text.and_then(|text| u64::from_str_radix(text, 8).ok()).ok_or_else(|| bad(&format!("the head of {name:?} is damaged")))
    };
    let bytes = match block[124] {
        0x80 => u64::from_be_bytes(block[128..136].try_into().unwrap_or_default()),
        _ => octal(&block[124..136])?,
    };
    Ok((name.to_owned(), bytes, octal(&block[136..148])?))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_and_every_flipped_bit_of_the_frame_is_seen() {
        let files: [(&str, &[u8]); 3] = [("manifest.json", b"{}"), ("events/0000000001.events", &[7; 1_000]), ("uids/empty", b"")];
        let mut tar = TarWriter::new(Vec::new());
        for (name, content) in files {
            tar.file(name, content.len() as u64, 1_790_000_000, &mut &*content).unwrap();
        }
        let bytes = tar.finish().unwrap();
        let contents = |bytes: &[u8]| -> io::Result<Vec<(String, Vec<u8>)>> {
            let mut found = Vec::new();
            read(bytes, |name, _, content| {
                let mut text = Vec::new();
                content.read_to_end(&mut text)?;
                found.push((name.to_owned(), text));
                Ok(())
            })?;
            Ok(found)
        };
        let whole = contents(&bytes).unwrap();
        assert_eq!(whole, files.map(|(name, content)| (name.to_owned(), content.to_vec())));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(contents(&flipped).map_or(true, |found| found != whole), "bit {bit} changes nothing");
        }
        for cut in 0..bytes.len() {
            assert!(contents(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let large = header("x", 1 << 40, 0).unwrap();
        assert_eq!(parse(&large).unwrap().1, 1 << 40);
    }
}
