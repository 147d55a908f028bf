package protocol

// A request on the wire is a first line that names the protocol, one line for each parameter, and then the network
// configuration up to the end of what the plugin sends. Each line ends with a zero byte, which no environment variable
// can hold, so that nothing needs quotes. An answer is one byte, the plugin's exit status, and then what the plugin is
// to print.
const (
	preamble = "causeway-cni-1"

	// Succeeded and Failed are the first byte of an answer.
	Succeeded byte = '0'
	Failed    byte = '1'
)

// Encode returns a request as it is sent.
func (r Request) Encode() []byte {
	lines := []string{preamble, r.Command, r.ContainerID, r.NetworkNamespace, r.Interface, r.Args, decimal(r.PatienceMilliseconds)}
	size := len(r.Config)
	for _, line := range lines {
		size += len(line) + 1
	}
	out := make([]byte, 0, size)
	for _, line := range lines {
		out = append(append(out, line...), 0)
	}
	return append(out, r.Config...)
}

// DecodeRequest reverses Encode. It reports whether the text is a whole request of this version of the protocol.
func DecodeRequest(text []byte) (Request, bool) {
	var r Request
	var first, patience string
	for _, line := range []*string{&first, &r.Command, &r.ContainerID, &r.NetworkNamespace, &r.Interface, &r.Args, &patience} {
		end := 0
		for end < len(text) && text[end] != 0 {
			end++
		}
		if end == len(text) {
			return Request{}, false
		}
		*line, text = string(text[:end]), text[end+1:]
	}
	r.Config = text
	var ok bool
	r.PatienceMilliseconds, ok = number(patience)
	return r, ok && first == preamble
}

// decimal and number stand for strconv, whose tables would make the plugin larger.
func decimal(n int64) string {
	if n <= 0 {
		return "0"
	}
	var digits [20]byte
	i := len(digits)
	for ; n > 0; n /= 10 {
		i--
		digits[i] = byte('0' + n%10)
	}
	return string(digits[i:])
}

func number(text string) (int64, bool) {
	var n int64
	for _, c := range []byte(text) {
		if c < '0' || c > '9' || n > 1<<50 {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, len(text) > 0
}
