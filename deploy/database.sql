-- Run once by the database's container, on an empty volume: who may do what. docs/deploy.md has the same for Debian.
\set carebell `cat /run/secrets/database_password`
\set grafana `cat /run/secrets/grafana_database_password`

-- The bridge and the desk own their database and nothing else.
CREATE ROLE carebell LOGIN PASSWORD :'carebell';
CREATE DATABASE carebell OWNER carebell;

-- The boards: the migrations grant the group the board_* views, of which none shows a phone number.
CREATE ROLE carebell_board NOLOGIN;
CREATE ROLE carebell_grafana LOGIN PASSWORD :'grafana' IN ROLE carebell_board;
ALTER ROLE carebell_grafana SET statement_timeout = '10s';
