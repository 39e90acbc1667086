"""One file per map method; `getam.maps.registry` names them."""
