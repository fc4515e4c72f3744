#include "ws/handshake.h"

#include <openssl/evp.h>

#include "base/codec.h"
#include "base/err.h"
#include "base/rand.h"
#include "ws/ws.h"

enum { KEY_BYTES = 16, SHA1_BYTES = 20 };

int rt_ws_accept_value(struct rt_str key, char out[RT_WS_ACCEPT_LEN + 1])
{
    static const char constant[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char text[RT_WS_KEY_LEN + sizeof(constant) - 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (key.len != RT_WS_KEY_LEN)
        return RT_EINVAL;
    memcpy(text, key.ptr, RT_WS_KEY_LEN);
    memcpy(text + RT_WS_KEY_LEN, constant, sizeof(constant) - 1);
    if (EVP_Digest(text, sizeof(text), digest, &len, EVP_sha1(), NULL) != 1 || len != SHA1_BYTES)
        return RT_EIO;
    EVP_EncodeBlock((unsigned char *)out, digest, SHA1_BYTES);
    return 0;
}

void rt_ws_random_key(char out[RT_WS_KEY_LEN + 1])
{
    uint8_t key[KEY_BYTES];
    rt_random(key, sizeof(key));
    EVP_EncodeBlock((unsigned char *)out, key, KEY_BYTES);
}

/* Base64 of 16 bytes. */
static bool key_is_valid(struct rt_str key)
{
    struct rt_buf out = RT_BUF_INIT;
    bool valid = key.len == RT_WS_KEY_LEN && key.ptr[22] == '=' && key.ptr[23] == '=' &&
                 memchr(key.ptr, '=', 22) == NULL && rt_base64_decode(&out, key) == 0 &&
                 (out.failed || out.len == KEY_BYTES);
    rt_buf_deinit(&out);
    return valid;
}

int rt_ws_check(const struct rt_http_request *req, const char **ret_text)
{
    if (!req->upgrade_websocket) {
        *ret_text =
            "a WebSocket handshake is expected here (Connection: Upgrade, Upgrade: websocket)";
        return 426;
    }
    if (!rt_str_eq(rt_http_header(req, "sec-websocket-version"), RT_STR("13"))) {
        *ret_text = "Sec-WebSocket-Version must be 13";
        return 426;
    }
    if (!key_is_valid(rt_http_header(req, "sec-websocket-key"))) {
        *ret_text = "Sec-WebSocket-Key must be 16 bytes in base64";
        return 400;
    }
    return 0;
}
