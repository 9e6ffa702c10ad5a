use super::*;

#[test]
fn redirects_lead_to_the_web_and_their_origin_decides() {
    let hub = Url::parse("https://h/a/b?x").unwrap();
    for (location, to, own) in [
        ("/c?d=1", Some("https://h/c?d=1"), true),
        ("c", Some("https://h/a/c"), true),
        ("https://H:443/d", Some("https://h/d"), true),
        ("//h.evil/d", Some("https://h.evil/d"), false),
        ("http://h/d", Some("http://h/d"), false),
        ("https://h:444/d", Some("https://h:444/d"), false),
        ("https://h@evil/d", Some("https://h@evil/d"), false),
        ("https://h\\@evil/d", Some("https://h/@evil/d"), true),
        ("ftp://c", None, false),
        ("file:///etc/passwd", None, false),
        ("https://", None, false),
    ] {
        let found = redirected(&hub, location);
        assert_eq!(found.as_ref().map(Url::as_str), to);
        assert_eq!(
            found.is_some_and(|url| url.origin() == hub.origin()),
            own,
            "{location}"
        );
    }
}

#[test]
fn etags_that_are_no_file_names_are_dropped() {
    let read = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("etag", value.parse().unwrap());
        safe_name(&headers, "etag")
    };
    assert_eq!(read("\"abc-1\"").as_deref(), Some("abc-1"));
    assert_eq!(read("W/\"abc\"").as_deref(), Some("abc"));
    assert_eq!(read("\"../../abc\""), None);
    assert_eq!(read("\"\""), None);
}
