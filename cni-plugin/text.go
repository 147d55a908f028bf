package main

// failure is a CNI error as the plugin prints it.
func failure(version string, code uint, message, details string) []byte {
	text := "{\n"
	if version != "" {
		text += `    "cniVersion": ` + quote(version) + ",\n"
	}
	digits := ""
	for ; code > 0; code /= 10 {
		digits = string(rune('0'+code%10)) + digits
	}
	return []byte(text + `    "code": ` + digits + ",\n    \"msg\": " + quote(message) + ",\n    \"details\": " + quote(details) + "\n}\n")
}

// quote makes a JSON string.
func quote(text string) string {
	const hex = "0123456789abcdef"
	out := []byte{'"'}
	for _, r := range text { // bytes that are no UTF-8 become U+FFFD
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < ' ':
			out = append(out, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			out = append(out, string(r)...)
		}
	}
	return string(append(out, '"'))
}

// member returns a string or number of a JSON object, or "" where the object has none of that name. The agent
// decodes the whole configuration; this finds the few settings that the plugin needs before there is an agent.
func member(object []byte, name string) string {
	depth := 0
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			text, end := unquote(object, i)
			next := skipSpace(object, end)
			if depth == 1 && text == name && next < len(object) && object[next] == ':' {
				return scalar(object, skipSpace(object, next+1))
			}
			i = end - 1
		}
	}
	return ""
}

// scalar returns the string or number that begins at a place.
func scalar(text []byte, at int) string {
	if at < len(text) && text[at] == '"' {
		value, _ := unquote(text, at)
		return value
	}
	end := at
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	return string(text[at:end])
}

// unquote returns the string whose first quote is at a place, and the place after its last. Of the escapes it knows
// those that stand for the character itself.
func unquote(text []byte, at int) (string, int) {
	var out []byte
	for i := at + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return string(out), i + 1
		case c == '\\' && i+1 < len(text):
			i++
			out = append(out, text[i])
		default:
			out = append(out, c)
		}
	}
	return string(out), len(text)
}

func skipSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r') {
		at++
	}
	return at
}
