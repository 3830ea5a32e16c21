<?php
// Receives webhooks of sipxrest. It needs PHP 8.0 or newer and nothing else.
//
//     WEBHOOK_SECRET="whsec_…" php -S 127.0.0.1:8080 receiver.php

const TOLERANCE = 5 * 60; // seconds

// verified reports whether a request is from sipxrest, and fresh.
function verified(string $body): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $stamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!ctype_digit($stamp) || abs(time() - (int) $stamp) > TOLERANCE) {
        return false;
    }
    // During a rotation both secrets are here, separated by a space.
    $secrets = preg_split('/\s+/', trim((string) getenv('WEBHOOK_SECRET')));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
        if (!str_starts_with($signature, 'v1,')) {
            continue;
        }
        foreach ($secrets as $secret) {
            $key = base64_decode(substr($secret, strlen('whsec_')));
            $expected = base64_encode(hash_hmac('sha256', "$id.$stamp.$body", $key, true));
            if (hash_equals($expected, substr($signature, strlen('v1,')))) {
                return true;
            }
        }
    }
    return false;
}

$body = (string) file_get_contents('php://input', false, null, 0, 65536);
if ($_SERVER['REQUEST_METHOD'] !== 'POST' || !verified($body)) {
    http_response_code(401);
    return;
}
// The same event may come twice, and a later one may overtake it: note the ids of
// events, and the version of each call, in your database.
$event = json_decode($body, true, 64, JSON_THROW_ON_ERROR);
$call = $event['data']['call'] ?? null;
error_log(trim($event['type'] . ' ' . ($call['id'] ?? '') . ' ' . ($call['state'] ?? '')));
http_response_code(204); // taken: it is not sent again
