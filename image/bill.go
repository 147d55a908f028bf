package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The shape of an SPDX 2.3 document in JSON, as far as it is used here.
type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []part         `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type part struct {
	ID        string      `json:"SPDXID"`
	Name      string      `json:"name"`
	Version   string      `json:"versionInfo"`
	Download  string      `json:"downloadLocation"`
	Analyzed  bool        `json:"filesAnalyzed"`
	License   string      `json:"licenseDeclared"`
	Concluded string      `json:"licenseConcluded"`
	Copyright string      `json:"copyrightText"`
	Checksums []checksum  `json:"checksums,omitempty"`
	External  []reference `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Kind string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	documentID = "SPDXRef-DOCUMENT"
	imageID    = "SPDXRef-image"
	unknown    = "NOASSERTION"
)

// bill lists what the image holds: our binaries, the Go modules in them, and Debian's packages.
func (c *content) bill(o options, architecture string) ([]byte, error) {
	d := document{Version: "SPDX-2.3", License: "CC0-1.0", ID: documentID, Name: o.Name + "-" + o.Version + "-" + architecture,
		Creation: creation{Created: o.Created.Format("2006-01-02T15:04:05Z"), Creators: []string{"Tool: causeway-make-image"}}}
	d.add(part{ID: imageID, Name: o.Name, Version: o.Version, License: "Apache-2.0"}, documentID, "DESCRIBES")
	modules := map[string]part{}
	for _, name := range ours {
		text := c.files["usr/local/bin/"+name].text
		id := "SPDXRef-binary-" + name
		sum := sha256.Sum256(text)
		d.add(part{ID: id, Name: name, Version: o.Version, License: "Apache-2.0", Checksums: []checksum{{"SHA256", hex.EncodeToString(sum[:])}}}, imageID, "CONTAINS")
		info, err := buildinfo.Read(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("read what %s was built from: %w", name, err)
		}
		modules["stdlib"] = golang("stdlib", strings.TrimPrefix(info.GoVersion, "go"))
		d.relate(id, "CONTAINS", modules["stdlib"].ID)
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			modules[m.Path+"@"+m.Version] = golang(m.Path, m.Version)
			d.relate(id, "CONTAINS", modules[m.Path+"@"+m.Version].ID)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(modules)) {
		d.Packages = append(d.Packages, modules[key])
	}
	for _, p := range c.packages {
		d.add(part{ID: "SPDXRef-debian-" + identifier(p.Name), Name: p.Name, Version: p.Version, External: []reference{
			{"PACKAGE-MANAGER", "purl", fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=bookworm", p.Name, p.Version, p.Architecture)},
		}}, imageID, "CONTAINS")
	}
	first, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(first)
	d.Namespace = "https://github.com/causeway-net/causeway/spdx/" + d.Name + "-" + hex.EncodeToString(sum[:16])
	text, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

func (d *document) add(p part, from, kind string) {
	d.Packages = append(d.Packages, whole(p))
	d.relate(from, kind, p.ID)
}

func (d *document) relate(from, kind, to string) {
	d.Relationships = append(d.Relationships, relationship{from, kind, to})
}

func golang(module, version string) part {
	return whole(part{ID: "SPDXRef-go-" + identifier(module+"-"+version), Name: module, Version: version, External: []reference{
		{"PACKAGE-MANAGER", "purl", "pkg:golang/" + module + "@" + version},
	}})
}

// whole says of what is not known that it is not.
func whole(p part) part {
	for _, s := range []*string{&p.Download, &p.License, &p.Concluded, &p.Copyright} {
		if *s == "" {
			*s = unknown
		}
	}
	return p
}

// identifier makes what SPDX takes: letters, digits, points and hyphens.
func identifier(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, s)
}
