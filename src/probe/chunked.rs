//! The chunked transfer coding (RFC 9112, 7.1), decoded as it comes in.

/// Of a line with a chunk's size, its extensions included, and of all trailers together.
const LINE_LIMIT_BYTES: usize = 16 * 1024;

/// Where in the coding the next byte stands.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    /// Of this size line or of the trailers.
    line_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a size; `None` before its first digit.
    Size(Option<u64>),
    Extension(u64),
    SizeLf(u64),
    /// Bytes to come.
    Data(u64),
    DataCr,
    DataLf,
    /// True: at the beginning of a line, so that an end of line ends the answer.
    Trailer(bool),
    TrailerLf(bool),
    End,
}

impl Default for At {
    fn default() -> At {
        At::Size(None)
    }
}

impl Chunks {
    pub fn ended(&self) -> bool {
        self.at == At::End
    }

    /// The data among these bytes, and how many of them belong to the answer.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(Vec<u8>, usize), String> {
        let mut data = Vec::new();
        let mut taken = 0;
        while taken < bytes.len() && !self.ended() {
            if let At::Data(left) = self.at {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                data.extend_from_slice(&bytes[taken..taken + length]);
                taken += length;
                let left = left - length as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                continue;
            }
            self.at = self.after(bytes[taken])?;
            taken += 1;
        }
        Ok((data, taken))
    }

    /// One byte outside a chunk's data.
    fn after(&mut self, byte: u8) -> Result<At, String> {
        self.line_bytes += 1;
        if self.line_bytes > LINE_LIMIT_BYTES {
            return Err(format!("a chunk's size or the trailers are longer than {LINE_LIMIT_BYTES} bytes"));
        }
        match (self.at, byte) {
            (At::Size(Some(size)), b'\r') | (At::Extension(size), b'\r') => Ok(At::SizeLf(size)),
            (At::Size(Some(size)), b';' | b' ' | b'\t') | (At::Extension(size), _) if byte != b'\n' => {
                Ok(At::Extension(size))
            }
            (At::Size(size), _) => match (char::from(byte).to_digit(16), size.unwrap_or(0)) {
                (Some(digit), size) if size >> 60 == 0 => Ok(At::Size(Some(size << 4 | u64::from(digit)))),
                (Some(_), _) => Err("a chunk's size is beyond all measure".to_owned()),
                (None, _) => Err("a chunk without a size".to_owned()),
            },
            (At::SizeLf(size), b'\n') => {
                // The trailers have a limit of their own, each size line too.
                self.line_bytes = 0;
                Ok(if size == 0 { At::Trailer(true) } else { At::Data(size) })
            }
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => {
                self.line_bytes = 0;
                Ok(At::Size(None))
            }
            (At::Trailer(begins), b'\r') => Ok(At::TrailerLf(begins)),
            (At::Trailer(_), b'\n') => Err("a trailer's line ends without CR".to_owned()),
            (At::Trailer(_), _) => Ok(At::Trailer(false)),
            (At::TrailerLf(true), b'\n') => Ok(At::End),
            (At::TrailerLf(false), b'\n') => Ok(At::Trailer(true)),
            (At::Extension(_) | At::SizeLf(_), _) => Err("a chunk's size line does not end".to_owned()),
            (At::DataCr | At::DataLf, _) => Err("a chunk is longer than its size".to_owned()),
            (At::TrailerLf(_), _) => Err("a trailer's line does not end".to_owned()),
            // Both are handled where bytes are taken.
            (At::Data(_) | At::End, _) => Err("more than the answer".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, usize), String> {
        let (mut chunks, mut all, mut taken) = (Chunks::default(), Vec::new(), 0);
        for piece in pieces {
            let (data, bytes) = chunks.take(piece)?;
            all.extend(data);
            taken += bytes;
        }
        Ok((all, chunks.ended(), taken))
    }

    #[test]
    fn what_follows_the_end_is_left() {
        let bytes = b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n000\r\n\r\nHTTP/1.1";
        assert_eq!(decode(&[bytes]), Ok((b"abc0123456789".to_vec(), true, bytes.len() - 8)));
        let bytes = b"0 \r\nx: 1\r\ny: 2\r\n\r\n";
        assert_eq!(decode(&[bytes]), Ok((Vec::new(), true, bytes.len())));
    }

    #[test]
    fn what_is_malformed_is_told() {
        for (bytes, what) in [
            (&b"\r\n"[..], "without a size"),
            (b"3\nabc", "without a size"),
            (b"3;x\nabc", "size line does not end"),
            (b"3\rabc", "size line does not end"),
            (b"3\r\nabcd", "longer than its size"),
            (b"3\r\nabc\n", "longer than its size"),
            (b"10000000000000000\r\n", "beyond all measure"),
            (b"0\r\nx: 1\n\r\n", "without CR"),
            (b"0\r\nx: 1\rx", "line does not end"),
        ] {
            let error = decode(&[bytes]).unwrap_err();
            assert!(error.contains(what), "{}: {error}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(decode(&[b"ffffffffffffffff\r\n"]).map(|decoded| decoded.1), Ok(false));
        let endless = vec![b'0'; LINE_LIMIT_BYTES + 1];
        assert!(decode(&[&endless]).unwrap_err().contains("longer than"));
        let trailers = [&b"0\r\n"[..], &b"x: y\r\n".repeat(LINE_LIMIT_BYTES / 6 + 1)].concat();
        assert!(decode(&[&trailers]).unwrap_err().contains("longer than"));
    }

    proptest! {
        /// However the bytes come in, the same comes out.
        #[test]
        fn pieces_decode_like_the_whole(data in vec(vec(any::<u8>(), 1..40), 0..8), piece in 1_usize..20) {
            let mut coded = Vec::new();
            for chunk in &data {
                coded.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                coded.extend(chunk);
                coded.extend(b"\r\n");
            }
            coded.extend(b"0\r\n\r\n");
            let pieces: Vec<&[u8]> = coded.chunks(piece).collect();
            prop_assert_eq!(decode(&pieces), Ok((data.concat(), true, coded.len())));
        }
    }
}
