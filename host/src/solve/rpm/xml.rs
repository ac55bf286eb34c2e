//! A reader of untrusted XML that never holds more than one element's tag or text.
//!
//! Bounded: the length of one piece between two tags, of an element's text, of a tag, and the depth. Only the five predefined
//! entities and character references are known; a document type with an internal subset is refused.

use std::{
    borrow::Cow,
    io::{self, BufRead, Read},
};

use quick_xml::{Reader, escape, events::Event};

/// The longest text of one element, and the longest piece that is read at once.
const MAX_TEXT: usize = 4 << 20;

/// The longest tag.
const MAX_TAG: usize = 64 << 10;

/// How deep elements may be nested.
const MAX_DEPTH: usize = 32;

/// Why a document cannot be read.
#[derive(Debug)]
pub(crate) enum XmlError {
    /// The bytes could not be read.
    Read(io::Error),
    /// They are no XML that is accepted.
    Malformed(String),
}

/// One step through a document.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// An element begins.
    Open(Tag<'a>),
    /// The element that was opened last ends; with the text since the last tag.
    Close(&'a str),
    /// The document is over.
    End,
}

/// The beginning of an element.
#[derive(Debug)]
pub(crate) struct Tag<'a> {
    event: quick_xml::events::BytesStart<'a>,
}

impl Tag<'_> {
    /// Returns the name without its prefix.
    pub(crate) fn name(&self) -> &str {
        self.event.local_name().into_inner()
    }

    /// Calls `take` for each attribute, with its name without prefix.
    ///
    /// # Errors
    /// Fails when an attribute is malformed, or `take` does.
    pub(crate) fn attributes(&self, mut take: impl FnMut(&str, Cow<'_, str>) -> Result<(), String>) -> Result<(), String> {
        for attribute in self.event.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let value = if attribute.value.contains('&') {
                escape::unescape(&attribute.value).map_err(|error| error.to_string())?
            } else {
                Cow::Borrowed(&*attribute.value)
            };
            take(attribute.key.local_name().into_inner(), value)?;
        }
        Ok(())
    }

    /// Returns an attribute.
    ///
    /// # Errors
    /// Fails when an attribute is malformed.
    pub(crate) fn attribute(&self, name: &str) -> Result<Option<String>, String> {
        let mut found = None;
        self.attributes(|key, value| {
            if key == name {
                found = Some(value.into_owned());
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Reads a document step by step.
pub(crate) struct XmlReader<R> {
    reader: Reader<Bounded<R>>,
    buffer: Vec<u8>,
    text: String,
    depth: usize,
}

impl<R: BufRead> XmlReader<R> {
    pub(crate) fn new(source: R) -> Self {
        let mut reader = Reader::from_reader(Bounded { source, left: MAX_TEXT });
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_end_names = true;
        Self { reader, buffer: Vec::new(), text: String::new(), depth: 0 }
    }

    /// Returns how many bytes were read so far.
    pub(crate) fn position(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// Returns how many elements are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Goes on to the next tag.
    pub(crate) fn next(&mut self) -> Result<Step<'_>, XmlError> {
        self.text.clear();
        loop {
            self.buffer.clear();
            self.reader.get_mut().left = MAX_TEXT;
            // The borrow checker does not see that a returned event ends the loop, so that events are read again below.
            match self.reader.read_event_into(&mut self.buffer).map_err(from_reader)? {
                Event::Text(text) => self.text.push_str(&text.xml10_content()),
                Event::CData(text) => self.text.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let character = match reference.resolve_char_ref().map_err(from_reader)? {
                        Some(character) => Some(character),
                        None => predefined(&reference),
                    };
                    self.text.push(character.ok_or_else(|| malformed("an entity is not known"))?);
                }
                Event::DocType(text) if text.contains('[') => return Err(malformed("the document type defines entities of its own")),
                Event::DocType(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Empty(_) => {}
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(Step::Close(&self.text));
                }
                Event::Eof if self.depth == 0 => return Ok(Step::End),
                Event::Eof => return Err(malformed("it ends too early")),
                Event::Start(event) => {
                    if event.len() > MAX_TAG {
                        return Err(malformed("a tag is too long"));
                    }
                    if self.depth == MAX_DEPTH {
                        return Err(malformed("its elements are nested too deep"));
                    }
                    self.depth += 1;
                    return Ok(Step::Open(Tag { event: event.into_owned() }));
                }
            }
            if self.text.len() > MAX_TEXT {
                return Err(malformed("a text is too long"));
            }
        }
    }
}

fn malformed(reason: &str) -> XmlError {
    XmlError::Malformed(reason.to_owned())
}

fn from_reader(error: quick_xml::Error) -> XmlError {
    match error {
        quick_xml::Error::Io(error) => XmlError::Read(io::Error::new(error.kind(), error)),
        other => XmlError::Malformed(other.to_string()),
    }
}

fn predefined(name: &str) -> Option<char> {
    [("lt", '<'), ("gt", '>'), ("amp", '&'), ("quot", '"'), ("apos", '\'')].into_iter().find(|(known, _)| *known == name).map(|(_, c)| c)
}

/// Lets only so many bytes through until it is told to let more.
struct Bounded<R> {
    source: R,
    left: usize,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a piece of XML is longer than {MAX_TEXT} bytes")));
        }
        let available = self.source.fill_buf()?;
        Ok(&available[..available.len().min(self.left)])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.source.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Result<Vec<String>, String> {
        let mut reader = XmlReader::new(text.as_bytes());
        let mut steps = Vec::new();
        loop {
            match reader.next() {
                Ok(Step::Open(tag)) => {
                    let mut shown = tag.name().to_owned();
                    tag.attributes(|key, value| {
                        shown.push_str(&format!(" {key}={value}"));
                        Ok(())
                    })?;
                    steps.push(shown);
                }
                Ok(Step::Close(text)) => steps.push(format!("/{text}")),
                Ok(Step::End) => return Ok(steps),
                Err(error) => return Err(format!("{error:?}")),
            }
        }
    }

    #[test]
    fn a_document_is_walked_through() {
        let text = "<?xml version='1.0'?><!DOCTYPE a SYSTEM 'x'><a><!-- c --><p:b x='1&lt;2' y=\"&#65;\"/>t&amp;&#x42;<![CDATA[<>]]></a>";
        assert_eq!(steps(text).unwrap(), ["a", "b x=1<2 y=A", "/", "/t&B<>"]);
    }

    #[test]
    fn hostile_documents_are_refused() {
        for (text, reason) in [
            ("<!DOCTYPE a [<!ENTITY x 'yy'>]><a>&x;</a>".to_owned(), "document type"),
            ("<a>&x;</a>".to_owned(), "entity"),
            ("<a>".to_owned(), "too early"),
            ("<a></b>".to_owned(), "b"),
            ("<a>".repeat(40), "too deep"),
            (format!("<a x='{}'/>", "y".repeat(100_000)), "tag is too long"),
            (format!("<a>{}</a>", "y".repeat(5 << 20)), "longer than"),
            (format!("<a>{}</a>", "y<!-- -->".repeat(5 << 20)), "text is too long"),
            (format!("<{}", "y".repeat(5 << 20)), "longer than"),
        ] {
            let error = steps(&text).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
