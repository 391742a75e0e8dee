//! Invisible and deceptive characters, for the fuzz targets. This list is independent of the one in `text`,
//! so that fuzzing finds a gap in that one. The server's fuzz targets include this file, too.

/// Invisible characters and unusual blanks, from standards and reports.
const HIDDEN: &str = "\u{34f}\u{61c}\u{ad}\u{115f}\u{1160}\u{1680}\u{17b4}\u{17b5}\u{180b}\u{180c}\u{180d}\u{180e}\
    \u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{200b}\u{200c}\u{200d}\
    \u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{202f}\u{205f}\u{2060}\u{2061}\u{2062}\
    \u{2063}\u{2064}\u{2066}\u{2067}\u{2068}\u{2069}\u{206a}\u{206f}\u{2800}\u{3000}\u{3164}\u{fe00}\u{fe0e}\u{fe0f}\
    \u{feff}\u{ffa0}\u{fff9}\u{fffa}\u{fffb}\u{a0}\u{13430}\u{1bca0}\u{1bca3}\u{1d159}\u{1d173}\u{1d17a}\u{e0001}\
    \u{e0020}\u{e0041}\u{e007f}\u{e0100}\u{e01ef}\u{e000}\u{f8ff}\u{f0000}\u{10ffff}";

/// True for a character that no text for people may hold.
pub(crate) fn deceives(c: char) -> bool {
    c.is_control() || (c.is_whitespace() && c != ' ') || HIDDEN.contains(c)
}
