// The peer in Go: a WebSocket proxy on gorilla/websocket in the usual shape. Two goroutines a session, each
// message read whole, with a deadline, and written whole, with a deadline. With -key it verifies an RS256
// bearer token before it upgrades.
//
// Prints its port when it listens.
package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	readTimeout  = 60 * time.Second
	writeTimeout = 10 * time.Second
)

var (
	upstream = flag.String("upstream", "", "URL of the upstream")
	keyFile  = flag.String("key", "", "public key (PEM) of whoever signs tokens; none: no token is asked for")
	issuer   = flag.String("issuer", "", "the iss that a token must have")
	audience = flag.String("audience", "", "the aud that a token must have")
)

var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

func main() {
	flag.Parse()
	key := readKey()
	http.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if key != nil {
			if err := verify(key, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")); err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
				return
			}
		}
		serve(w, r)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"port\": %d}\n", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, nil))
}

func serve(w http.ResponseWriter, r *http.Request) {
	dialer := websocket.Dialer{Subprotocols: websocket.Subprotocols(r), HandshakeTimeout: writeTimeout}
	up, _, err := dialer.Dial(*upstream, nil)
	if err != nil {
		http.Error(w, "upstream unavailable", http.StatusBadGateway)
		return
	}
	defer up.Close()
	answer := http.Header{}
	if name := up.Subprotocol(); name != "" {
		answer.Set("Sec-WebSocket-Protocol", name)
	}
	client, err := upgrader.Upgrade(w, r, answer)
	if err != nil {
		return
	}
	defer client.Close()
	ended := make(chan struct{}, 2)
	go pump(client, up, ended)
	go pump(up, client, ended)
	<-ended
}

func pump(source, target *websocket.Conn, ended chan<- struct{}) {
	defer func() { ended <- struct{}{} }()
	for {
		source.SetReadDeadline(time.Now().Add(readTimeout))
		kind, message, err := source.ReadMessage()
		if err != nil {
			code := websocket.CloseGoingAway
			var closed *websocket.CloseError
			if errors.As(err, &closed) && closed.Code != websocket.CloseNoStatusReceived && closed.Code != websocket.CloseAbnormalClosure {
				code = closed.Code
			}
			target.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
			return
		}
		target.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := target.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

func readKey() *rsa.PublicKey {
	if *keyFile == "" {
		return nil
	}
	text, err := os.ReadFile(*keyFile)
	if err != nil {
		log.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	return key.(*rsa.PublicKey)
}

func verify(key *rsa.PublicKey, token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("malformed token")
	}
	var header struct{ Alg, Kid string }
	if err := decode(parts[0], &header); err != nil || header.Alg != "RS256" {
		return errors.New("malformed token")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return errors.New("malformed token")
	}
	digest := sha256.Sum256([]byte(token[:len(parts[0])+1+len(parts[1])]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature); err != nil {
		return errors.New("invalid token")
	}
	var claims struct {
		Iss, Sub, Aud string
		Exp           float64
	}
	if err := decode(parts[1], &claims); err != nil {
		return errors.New("malformed token")
	}
	if claims.Iss != *issuer || claims.Aud != *audience || claims.Sub == "" || float64(time.Now().Unix()) > claims.Exp {
		return errors.New("invalid token")
	}
	return nil
}

func decode(part string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
